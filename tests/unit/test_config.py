"""foreshock.config: layers, provenance, refusals, masks, fingerprints."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from foreshock.config import (
    MASK,
    Layer,
    Section,
    build,
    dotenv_values,
    environment_layer,
    fingerprint,
    flag_layer,
    settings,
    yaml_layer,
)
from foreshock.errors import ConfigError


class Inner(Section):
    step_s: float = Field(default=1.0, gt=0, description="Seconds.")
    names: tuple[str, ...] = Field(default=("a",), description="Names.")
    label: str = Field(default="x", description="Text.")
    password: SecretStr | None = Field(default=None, description="Secret.")
    shares: dict[str, float] = Field(default={}, description="By name.")


class Tree(Section):
    flag: bool = Field(default=False, description="A flag.")
    inner: Inner = Field(default_factory=Inner, description="A section.")


def _yaml(tmp_path: Path, text: str, name: str = "one.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_each_layer_wins_over_the_ones_before_it_value_by_value(tmp_path: Path) -> None:
    first = _yaml(tmp_path, "inner: {step_s: 2, label: first, names: [f]}", "first.yaml")
    second = _yaml(tmp_path, "inner: {step_s: 3, label: second}", "second.yaml")
    dotenv = {"FORESHOCK__INNER__STEP_S": "4", "FORESHOCK__FLAG": "true"}
    loaded = build(
        Tree,
        [
            yaml_layer(Tree, first),
            yaml_layer(Tree, second),
            environment_layer(Tree, dotenv, ".env"),
            environment_layer(Tree, {"FORESHOCK__INNER__STEP_S": "5"}),
            flag_layer(Tree, {"inner.step_s": "6"}),
        ],
    )
    assert loaded.tree == Tree(flag=True, inner=Inner(step_s=6, label="second", names=("f",)))
    assert loaded.provenance == {
        "flag": ".env: FORESHOCK__FLAG",
        "inner.step_s": "flag inner.step_s",
        "inner.names": str(first),
        "inner.label": str(second),
        "inner.password": "default",
        "inner.shares": "default",
    }


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("inner.stepp_s", "inner.step_s"),
        ("iner.step_s", "inner.step_s"),
        ("flagg", "flag"),
        ("inner.flag", "flag"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_name(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown setting '{key}', did you mean '{nearest}'\?"):
        flag_layer(Tree, {key: 1})


def test_an_unknown_key_is_refused_in_every_kind_of_layer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one\.yaml: unknown setting 'inner\.stepp'"):
        yaml_layer(Tree, _yaml(tmp_path, "inner: {stepp: 1}"))
    with pytest.raises(ConfigError, match=r"FORESHOCK__INNER__STEPP: unknown setting"):
        environment_layer(Tree, {"FORESHOCK__INNER__STEPP": "1"})


def test_variables_of_others_are_let_be() -> None:
    assert environment_layer(Tree, {"FORESHOCK_RECORDINGS": "x", "PATH": "y"}).values == {}


def test_a_file_that_is_broken_or_missing_or_no_mapping_is_named(tmp_path: Path) -> None:
    for path in (
        tmp_path / "absent.yaml",
        _yaml(tmp_path, "inner: [", "broken.yaml"),
        _yaml(tmp_path, "- 1", "list.yaml"),
        _yaml(tmp_path, "inner: 3", "scalar.yaml"),
    ):
        with pytest.raises(ConfigError, match=path.name):
            yaml_layer(Tree, path)


def test_empty_files_and_empty_sections_change_nothing(tmp_path: Path) -> None:
    assert yaml_layer(Tree, _yaml(tmp_path, "")).values == {}
    assert yaml_layer(Tree, _yaml(tmp_path, "inner:\n")).values == {}


def test_text_is_read_as_yaml_except_where_text_is_meant() -> None:
    loaded = build(
        Tree,
        [
            environment_layer(
                Tree,
                {
                    "FORESHOCK__INNER__NAMES": "[b, c]",
                    "FORESHOCK__INNER__LABEL": "true",
                    "FORESHOCK__INNER__SHARES": "{a: 0.5}",
                    "FORESHOCK__INNER__PASSWORD": "123: [",
                },
            )
        ],
    )
    inner = loaded.tree.inner
    assert (inner.names, inner.label, inner.shares) == (("b", "c"), "true", {"a": 0.5})
    assert inner.password is not None and inner.password.get_secret_value() == "123: ["


def test_a_value_that_does_not_fit_is_told_with_its_key_value_and_place() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Tree, [environment_layer(Tree, {"FORESHOCK__INNER__STEP_S": "-1"})])
    told = str(caught.value)
    assert "inner.step_s = -1: " in told and "(from FORESHOCK__INNER__STEP_S)" in told


def test_a_secret_is_never_told() -> None:
    layer = flag_layer(Tree, {"inner.password": "hunter2"})
    loaded = build(Tree, [layer])
    by_key = {line.key: line for line in settings(loaded)}
    assert by_key["inner.password"].value == MASK
    assert "hunter2" not in repr(loaded) + repr(settings(loaded)).replace(repr(layer), "")
    with pytest.raises(ConfigError) as caught:
        build(Tree, [Layer({"inner.password": (["hunter2"], "here")})])
    assert "hunter2" not in str(caught.value)
    assert settings(build(Tree, []))[4].value is None  # one that is not set shows no mask


def test_the_tree_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Tree().inner.step_s = 2.0  # type: ignore[misc]


def test_the_fingerprint_changes_with_every_setting_but_secrets() -> None:
    plain = fingerprint(Tree())
    assert plain == fingerprint(Tree())
    assert len(plain) == 16
    assert fingerprint(Tree(inner=Inner(password=SecretStr("x")))) == plain
    changed = {
        fingerprint(Tree(flag=True)),
        fingerprint(Tree(inner=Inner(step_s=2))),
        fingerprint(Tree(inner=Inner(names=("a", "b")))),
        fingerprint(Tree(inner=Inner(shares={"a": 1.0}))),
    }
    assert len(changed | {plain}) == 5


def test_dotenv_lines_may_have_comments_export_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "# a comment\n\nA=1\nexport B='two words' \nC=\"x # y\"\nD=plain # comment\nE=a=b\nF=\n"
    )
    assert dotenv_values(path) == {
        "A": "1",
        "B": "two words",
        "C": "x # y",
        "D": "plain",
        "E": "a=b",
        "F": "",
    }
    assert dotenv_values(tmp_path / "absent") == {}


def test_a_dotenv_line_that_is_nothing_is_refused_without_repeating_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\nhunter2\n")
    with pytest.raises(ConfigError, match=r"\.env:2") as caught:
        dotenv_values(path)
    assert "hunter2" not in str(caught.value)
