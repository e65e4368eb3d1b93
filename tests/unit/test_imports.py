"""The library imports where Ray, event loops and HTTP libraries do not exist."""

from __future__ import annotations

import ast
import importlib.util
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import foreshock

BLOCKED = (
    "aiohttp",
    "fastapi",
    "httpx",
    "ray",
    "requests",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
    "xgboost_ray",
)
# Blocked names raise on import; so does asyncio, where *our* code imports it: pyarrow, redis and
# others pull it in for themselves, which is theirs to do.
PROGRAM = """
import builtins, importlib, json, sys
blocked, modules, package = json.loads(sys.argv[1])
real = builtins.__import__
def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    top = name.partition('.')[0]
    ours = ((globals or {}).get('__name__') or '').split('.')[0] == package
    if level == 0 and (top in blocked and ours or ours and top in ('asyncio', 'http')):
        raise AssertionError(f"{(globals or {}).get('__name__')} imports {name}")
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = guarded
for module in modules:
    importlib.import_module(module)
print(json.dumps(sorted(set(blocked) & set(sys.modules))))
"""


def _modules() -> list[str]:
    found = pkgutil.walk_packages(foreshock.__path__, "foreshock.")
    return ["foreshock", *(module.name for module in found)]


def test_every_module_of_the_library_imports_without_ray_asyncio_or_http() -> None:
    arguments = json.dumps([BLOCKED, _modules(), "foreshock"])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # redis and others may look for httpx; Ray must not even have been touched.
    assert "ray" not in json.loads(done.stdout.splitlines()[-1])


def test_the_guard_notices_an_import_that_is_not_allowed(tmp_path: Path) -> None:
    package = tmp_path / "planted"
    package.mkdir()
    (package / "__init__.py").write_text("import asyncio\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + PROGRAM
    arguments = json.dumps([BLOCKED, ["planted"], "planted"])
    done = subprocess.run(
        [sys.executable, "-c", program, arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "planted imports asyncio" in done.stderr


def test_the_walk_finds_every_file() -> None:
    root = Path(foreshock.__path__[0])
    files = {
        ".".join(("foreshock", *path.relative_to(root).with_suffix("").parts))
        .removesuffix(".__init__")
        for path in root.rglob("*.py")
    }  # fmt: skip
    assert files == set(_modules())


def test_no_module_of_the_library_prints() -> None:
    root = Path(foreshock.__path__[0])
    printing = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printing == []


def test_the_rooms_of_the_application_are_importable_from_the_checkout() -> None:
    for room in ("actors", "pipelines", "serve", "cluster", "benchmarks"):
        assert importlib.util.find_spec(room) is not None, room
