"""foreshock.settings: the tree itself and the files that come with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from foreshock.config import fingerprint
from foreshock.errors import ConfigError
from foreshock.settings import MODE_FILES, Config, Gate, load
from foreshock.signals.gate import GateSettings

NOWHERE = Path("absent.env")


def _fields(tree: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, field in tree.model_fields.items():
        yield prefix + name, field.description
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, f"{prefix}{name}.")


def _sections(tree: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield tree
    for field in tree.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _sections(kind)


def test_every_setting_has_a_paragraph() -> None:
    thin = [key for key, text in _fields(Config) if len(text or "") < 12 or text[-1:] != "."]
    assert thin == []
    leaves = [key for key, _ in _fields(Config) if key.count(".")]
    assert len(leaves) > 20  # the walk does reach the sections


def test_every_section_is_frozen_and_refuses_unknown_keys() -> None:
    for section in _sections(Config):
        assert section.model_config.get("frozen") is True, section
        assert section.model_config.get("extra") == "forbid", section


@pytest.mark.parametrize("mode", sorted(MODE_FILES))
def test_each_mode_loads_with_the_files_of_the_checkout(mode: str) -> None:
    loaded = load({"mode": mode}, environment={}, dotenv=NOWHERE)
    assert loaded.tree.mode == mode
    assert set(loaded.provenance.values()) == {"default", "flag mode", f"configs/{mode}.yaml"}


def test_every_file_in_configs_is_valid_over_every_mode(repository: Path) -> None:
    others = {path for path in (repository / "configs").glob("*.yaml")}
    assert {path.name for path in others} >= {"demo.yaml", "live.yaml", "replay.yaml", "train.yaml"}
    for path in others:
        load(files=[path], environment={}, dotenv=NOWHERE)


def test_the_mode_comes_from_dotenv_then_environment_then_flags(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("FORESHOCK__MODE=live\n")
    assert load(environment={}, dotenv=dotenv).tree.mode == "live"
    replay = {"FORESHOCK__MODE": "replay"}
    assert load(environment=replay, dotenv=dotenv).tree.mode == "replay"
    assert load({"mode": "demo"}, environment=replay, dotenv=dotenv).tree.mode == "demo"


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="'paper' is none of demo, live, replay"):
        load({"mode": "paper"}, environment={}, dotenv=NOWHERE)


def test_a_file_cannot_set_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text("mode: live\n")
    with pytest.raises(ConfigError, match="cannot set mode"):
        load(files=[path], environment={}, dotenv=NOWHERE)


def test_further_files_win_over_the_modes_own(tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text("training: {trials: 3}\n")
    loaded = load(files=[path], environment={}, dotenv=NOWHERE)
    assert loaded.tree.training.trials == 3
    assert loaded.provenance["training.trials"] == str(path)


def test_deployments_together_stay_within_their_budget() -> None:
    serve = Config().serve
    asked = serve.api_cpus + serve.gate_cpus + serve.max_replicas * serve.scorer_cpus
    assert asked <= serve.cpu_budget + 1e-9 <= 0.9
    with pytest.raises(ConfigError, match=r"deployments ask for 0\.50 CPUs"):
        load({"serve.max_replicas": 3}, environment={}, dotenv=NOWHERE)


def test_the_gate_gets_the_bill_of_costs_and_the_barriers_of_the_labels() -> None:
    overrides = {"costs.taker_fee_bps": 7, "labels.k_far": 3, "gate.cool_down_s": 5}
    tree = load(overrides, environment={}, dotenv=NOWHERE).tree
    gate = tree.gate_settings()
    assert (gate.costs, gate.barriers.k_far, gate.cool_down_s) == (tree.costs, 3.0, 5.0)
    assert gate.barriers.k_near == tree.labels.k_near


def test_the_surge_definition_carries_the_version_of_the_bill() -> None:
    dear = load({"costs.taker_fee_bps": 7}, environment={}, dotenv=NOWHERE).tree
    cheap = load({"costs.taker_fee_bps": 2}, environment={}, dotenv=NOWHERE).tree
    assert dear.label_settings().fingerprint != cheap.label_settings().fingerprint


def test_the_gate_section_says_everything_that_is_not_said_elsewhere() -> None:
    elsewhere = {"costs", "barriers", "label_costs"}
    assert set(Gate.model_fields) == set(GateSettings.model_fields) - elsewhere
    for name, field in Gate.model_fields.items():
        assert field.default == GateSettings.model_fields[name].default


def test_var_dir_is_meant_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Config().paths.under("models", "a") == tmp_path / "var" / "models" / "a"


def test_the_fingerprint_does_not_depend_on_where_values_came_from() -> None:
    flags = load({"simulation.seed": 9}, environment={}, dotenv=NOWHERE).tree
    variables = load(environment={"FORESHOCK__SIMULATION__SEED": "9"}, dotenv=NOWHERE).tree
    assert fingerprint(flags) == fingerprint(variables)
    assert fingerprint(flags) != fingerprint(load(environment={}, dotenv=NOWHERE).tree)
