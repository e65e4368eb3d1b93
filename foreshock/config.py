"""How settings are read: layers laid over one another into one frozen pydantic tree.

Later layers win, value by value:

1. the defaults written in the tree itself,
2. YAML files, in the order given,
3. a `.env` file,
4. environment variables FORESHOCK__SECTION__KEY,
5. flags: dotted overrides such as {"engine.step_s": 2}.

Nothing here knows which settings exist: the tree is `foreshock.settings.Config`, made of classes
that live in the rooms they serve. A key that the tree does not have is refused, with the nearest
name that it does have. Every value keeps where it came from.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from foreshock.errors import ConfigError

ENV_PREFIX = "FORESHOCK__"
DEFAULT = "default"
MASK = "********"


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused, defaults held to the same rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


TreeT = TypeVar("TreeT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place: dotted key → (value, where exactly it came from)."""

    values: Mapping[str, tuple[Any, str]]


@dataclass(frozen=True, slots=True)
class Loaded(Generic[TreeT]):
    """A tree, and for each of its dotted keys the place its value came from."""

    tree: TreeT
    provenance: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of `foreshock config show`. `value` is JSON-ready, and masked where secret."""

    key: str
    value: Any
    source: str
    description: str


# The shape of the tree ----------------------------------------------------------------------------


def _section_class(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def leaves(tree: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a tree: (dotted key, field), in the order of the source."""
    for name, field in tree.model_fields.items():
        section = _section_class(field)
        if section is None:
            yield prefix + name, field
        else:
            yield from leaves(section, f"{prefix}{name}.")


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value must never be shown, logged or hashed."""
    kinds = (field.annotation, *get_args(field.annotation))
    return any(kind is SecretStr for kind in kinds)


def _nearest(key: str, known: Sequence[str]) -> str:
    """ ", did you mean 'engine.step_s'?", or nothing where no known name is near."""
    last = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]  # in the wrong section
    near = difflib.get_close_matches(key, same or known, n=1, cutoff=0.0 if same else 0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _refuse_unknown(tree: type[BaseModel], keys: Mapping[str, tuple[Any, str]]) -> None:
    known = [key for key, _ in leaves(tree)]
    for key, (_, source) in keys.items():
        if key not in known:
            raise ConfigError(f"{source}: unknown setting {key!r}{_nearest(key, known)}")


# Layers -------------------------------------------------------------------------------------------


def _flatten(
    tree: type[BaseModel], given: Mapping[Any, Any], source: str, prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, str]]]:
    for raw_name, value in given.items():
        name = str(raw_name)
        field = tree.model_fields.get(name)
        section = _section_class(field) if field is not None else None
        if section is None:
            yield prefix + name, (value, source)
        elif isinstance(value, Mapping):
            yield from _flatten(section, value, source, f"{prefix}{name}.")
        elif value is not None:  # an empty section in YAML is None, and means no change
            raise ConfigError(f"{source}: {prefix}{name} is a section, not {value!r}")


def yaml_layer(tree: type[BaseModel], path: Path) -> Layer:
    """The settings of one YAML file. Raises ConfigError where it cannot be read or has an unknown
    key."""
    try:
        body = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if body is None:
        return Layer({})
    if not isinstance(body, Mapping):
        raise ConfigError(f"{path}: is not a mapping of sections")
    values = dict(_flatten(tree, body, str(path)))
    _refuse_unknown(tree, values)
    return Layer(values)


def _from_text(text: str, field: FieldInfo) -> Any:
    """The value that a variable or flag spells: text stays text, the rest is read as YAML, so that
    `[60, 300]`, `true`, `0.5` and `null` mean what they do in a file."""
    if field.annotation is str or is_secret(field):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _text_layer(tree: type[BaseModel], given: Mapping[str, tuple[Any, str]]) -> Layer:
    _refuse_unknown(tree, given)
    fields = dict(leaves(tree))
    return Layer(
        {
            key: (_from_text(value, fields[key]) if isinstance(value, str) else value, source)
            for key, (value, source) in given.items()
        }
    )


def environment_layer(
    tree: type[BaseModel], environment: Mapping[str, str], file: str | None = None
) -> Layer:
    """The settings among environment variables: FORESHOCK__ENGINE__STEP_S is engine.step_s.

    `file` names the .env file they were read from, where they were. Raises ConfigError on a
    variable with our prefix that names no setting."""
    given = {}
    for name, text in sorted(environment.items()):
        if name.upper().startswith(ENV_PREFIX):
            key = name[len(ENV_PREFIX) :].lower().replace("__", ".")
            given[key] = (text, f"{file}: {name}" if file else name)
    return _text_layer(tree, given)


def dotenv_values(path: Path) -> dict[str, str]:
    """NAME=value lines of a .env file: comments, `export` and quotes are understood.

    Raises ConfigError on a line that is none of these; a missing file has no values."""
    if not path.exists():
        return {}
    values = {}
    for number, raw in enumerate(path.read_text().splitlines(), start=1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, text = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise ConfigError(f"{path}:{number}: not NAME=value")  # the line may hold a secret
        if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
            text = text[1:-1]
        elif " #" in text:
            text = text.partition(" #")[0].rstrip()
        values[name] = text
    return values


def flag_layer(tree: type[BaseModel], overrides: Mapping[str, Any]) -> Layer:
    """Settings given on the command line, dotted. Raises ConfigError on an unknown one."""
    return _text_layer(tree, {key: (value, f"flag {key}") for key, value in overrides.items()})


# Putting them together ----------------------------------------------------------------------------


def build(tree: type[TreeT], layers: Sequence[Layer]) -> Loaded[TreeT]:
    """The tree that the layers describe, later ones winning.

    Raises ConfigError that names the setting, the value (unless secret) and where it came from."""
    merged: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        merged.update(layer.values)
    nested: dict[str, Any] = {}
    for key, (value, _) in merged.items():
        *sections, last = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    try:
        built = tree.model_validate(nested)
    except ValidationError as error:
        raise ConfigError(_explain(tree, error, merged)) from None
    provenance = {key: merged[key][1] if key in merged else DEFAULT for key, _ in leaves(tree)}
    return Loaded(built, provenance)


def _explain(
    tree: type[BaseModel], error: ValidationError, merged: Mapping[str, tuple[Any, str]]
) -> str:
    """pydantic's complaint in our words: key, value, reason and place; secrets stay unsaid."""
    fields = dict(leaves(tree))
    sentences = []
    for found in error.errors(include_url=False):
        path = [str(part) for part in found["loc"]]
        keys = [".".join(path[:end]) for end in range(len(path), 0, -1)]
        key = next((key for key in keys if key in fields), keys[0] if keys else "the settings")
        value = merged[key][0] if key in merged else None
        told = "" if key not in merged or is_secret(fields[key]) else f" = {value!r}"
        source = f" (from {merged[key][1]})" if key in merged else ""
        reason = found["msg"].removeprefix("Value error, ")
        sentences.append(f"{key}{told}: {reason}{source}")
    return "; ".join(sentences)


def _value_at(tree: BaseModel, key: str) -> Any:
    value: Any = tree
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): _jsonable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def settings(loaded: Loaded[TreeT]) -> list[Setting]:
    """Every setting with its value, place and paragraph; secrets that are set show as a mask."""
    lines = []
    for key, field in leaves(type(loaded.tree)):
        value = _value_at(loaded.tree, key)
        shown = (MASK if value is not None else None) if is_secret(field) else _jsonable(value)
        lines.append(Setting(key, shown, loaded.provenance[key], field.description or ""))
    return lines


def fingerprint(tree: BaseModel) -> str:
    """16 hex digits that change when any setting does that is no secret; works on sections too."""
    values = {
        key: _jsonable(_value_at(tree, key))
        for key, field in leaves(type(tree))
        if not is_secret(field)
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
