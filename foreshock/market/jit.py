"""The one place that decides how kernels are compiled and where they are cached.

* `fastmath` is off and the vector math library is off: bits are promised (docs/time.md).
* The CPU name is pinned to an x86-64 level instead of the host's model, so that two machines of the
  same level compile the same code.
* The cache is keyed on the *content* of a kernel's file and of all files it imports from. Numba's
  own key is the directory and the file's mtime, so that each uploaded working directory would
  compile afresh, and a kernel that inlines another file's function would not notice its change.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

_PACKAGE = Path(__file__).resolve().parent.parent


def _cpu_level() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return "x86-64"
    v3 = {"avx2", "bmi1", "bmi2", "fma", "movbe", "f16c"}
    return "x86-64-v3" if v3 <= set(flags) else "x86-64-v2"


# Numba reads these once, on import: they must be set before it.
os.environ.setdefault("NUMBA_CPU_NAME", _cpu_level())
os.environ.setdefault("NUMBA_CPU_FEATURES", "")
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")

import numba  # noqa: E402
from numba.core import caching  # noqa: E402

F = TypeVar("F", bound=Callable[..., Any])
_njit: Any = numba.njit  # its stubs know no dispatcher that still has the function's signature


_IMPORT = re.compile(r"^from foreshock\.([a-z_.]+) import", re.MULTILINE)


@cache
def _needs(path: Path) -> frozenset[Path]:
    """A file of the package and every other that it imports from, directly or not: what its
    kernels may have compiled into them."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        here = waiting.pop()
        if here in found or not here.is_file():
            continue
        found.add(here)
        waiting += [
            _PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
            for module in _IMPORT.findall(here.read_text())
        ]
    return frozenset(found)


@cache
def file_digest(path: Path) -> str:
    """20 hex digits of numba's version, `path` and all that `path` needs."""
    digest = hashlib.sha256(numba.__version__.encode())
    for needed in sorted(_needs(path)):
        digest.update(needed.relative_to(_PACKAGE).as_posix().encode())
        digest.update(needed.read_bytes())
    return digest.hexdigest()[:20]


def cache_root() -> Path:
    """Where compiled kernels are kept: FORESHOCK_KERNEL_CACHE, else ~/.cache/foreshock/kernels."""
    given = os.environ.get("FORESHOCK_KERNEL_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "foreshock" / "kernels"


def _place(path: Path) -> Path:
    """Where the compiled kernels of a file of the package are kept."""
    module = ".".join(path.relative_to(_PACKAGE).with_suffix("").parts)
    return cache_root() / module / file_digest(path)


def uncompiled() -> list[str]:
    """Files of the package that declare kernels of which none is in the cache as it stands."""
    return [
        path.relative_to(_PACKAGE).as_posix()
        for path in sorted(_PACKAGE.rglob("*.py"))
        if b"\n@kernel\n" in (text := path.read_bytes()) or b"\n@in_place_kernel\n" in text
        if not any(_place(path).glob("*.nbc"))
    ]


class _ContentLocator(caching._CacheLocator):
    """Puts our kernels' cache under the content digest; declines every other function."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_func = py_func
        self._line = py_func.__code__.co_firstlineno
        source = Path(py_file).resolve()
        self._digest = file_digest(source)
        self._path = _place(source)

    def ensure_cache_path(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._path)

    def get_source_stamp(self) -> Any:
        return self._digest

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        if not Path(py_file).resolve().is_relative_to(_PACKAGE):
            return None
        locator = cls(py_func, py_file)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


caching.CacheImpl._locator_classes.insert(0, _ContentLocator)


def kernel(function: F) -> F:
    """Compile `function` in nopython mode, without the GIL, cached by content."""
    return _njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)  # type: ignore[no-any-return]


def inlined(function: F) -> F:
    """Compile a small helper that kernels call; LLVM inlines it, numba need not cache it."""
    return _njit(nogil=True, fastmath=False, error_model="numpy")(function)  # type: ignore[no-any-return]


def in_place_kernel(function: F) -> F:
    """A `kernel` that only writes into arrays it is given, and allocates none.

    It is compiled without reference counts: where a state of several arrays goes through small
    helpers numba counts at every step, and a family's scan took 260 ns a row instead of 34.
    Compilation fails where such a kernel allocates.
    """
    lean = _njit(cache=True, nogil=True, fastmath=False, error_model="numpy", _nrt=False)
    return lean(function)  # type: ignore[no-any-return]


def in_place(function: F) -> F:
    """A helper of in-place kernels, without reference counts too, and always inlined: where LLVM
    chose to call instead, a state of twenty arrays was copied at each call, and a trade cost 45 ns
    instead of 6."""
    lean = _njit(nogil=True, fastmath=False, error_model="numpy", _nrt=False, forceinline=True)
    return lean(function)  # type: ignore[no-any-return]
