from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from foreshock.errors import ForeshockError
from foreshock.features import catalog
from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.features.vector import NEEDS
from foreshock.market import ladder as books
from tests.reference.feature_tape import instruments

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_about_features_is_the_generated_one() -> None:
    assert (ROOT / "docs/features.md").read_text(encoding="utf-8") == catalog.as_markdown()


def test_the_file_of_parameters_is_the_whole_catalogue_and_can_be_laid_over() -> None:
    page = ROOT / "configs/features.yaml"
    assert FeatureSettings.model_validate(yaml.safe_load(page.read_text())["features"]) == (
        FeatureSettings()
    )


def test_every_feature_is_of_its_family_with_an_input_and_a_warm_up() -> None:
    for name, family, given in FeatureSet().families:
        assert family.specs(given)
        for spec in family.specs(given):
            assert spec.family == name
            assert spec.needs in NEEDS
            assert spec.warmup_s >= 0
            assert all((spec.formula, spec.unit, spec.nan_rule, spec.source))


def test_a_window_in_a_name_is_never_longer_than_its_warm_up() -> None:
    for spec in catalog.specs():
        tail = spec.name.rsplit("_", 1)[-1]
        if tail.endswith("s") and tail[:-1].isdigit():
            assert spec.warmup_s >= int(tail[:-1])


def test_some_features_of_each_stream_are_required() -> None:
    required = {spec.needs for spec in catalog.specs() if catalog.is_required(spec)}
    assert required == {"tape", "book"}


def test_states_are_contiguous_arrays_and_a_symbol_is_at_most_two_mebibytes() -> None:
    total = sum(array.nbytes for array in books.init(1))
    for state in FeatureSet().init(instruments(1)):
        for name in state._fields:
            if name != "params":
                array = getattr(state, name)
                assert isinstance(array, np.ndarray)
                assert array.flags.c_contiguous
                total += array.nbytes
    assert total <= 2 * 1024 * 1024


def test_parameters_are_data_and_change_the_fingerprint() -> None:
    other = FeatureSettings.model_validate({"flow": {"imbalance_s": [20]}})
    names = catalog.layout(other).names
    assert "flow_imbalance_20s" in names and "flow_imbalance_10s" not in names
    assert catalog.layout(other).fingerprint != catalog.layout().fingerprint
    for wrong in ({"imbalance_s": [10, 5]}, {"imbalance_s": [301]}, {"imbalance_s": [0]}):
        with pytest.raises(ValidationError):
            FeatureSettings.model_validate({"flow": wrong})


def test_a_set_may_leave_families_out_and_says_its_tier() -> None:
    tape = FeatureSettings(families=("variation", "flow"))
    assert tape.families == ("flow", "variation")
    assert catalog.layout(tape).tier == "tape"
    assert catalog.layout().tier == "book"
    with pytest.raises(ValidationError, match="families must be some of"):
        FeatureSettings(families=("flow", "flew"))


def test_a_part_of_a_layout_keeps_the_specs_and_names_what_it_lacks() -> None:
    whole = catalog.layout()
    part = whole.only(["spread_bps", "flow_imbalance_10s"])
    assert part.names == ("spread_bps", "flow_imbalance_10s")
    assert [whole.names[k] for k in whole.columns(part.names)] == list(part.names)
    with pytest.raises(ForeshockError, match="no_such"):
        whole.only(["spread_bps", "no_such"])
