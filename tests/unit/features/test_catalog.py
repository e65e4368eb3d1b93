from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.errors import ConfigError
from foreshock.features import catalog
from foreshock.market.clock import SECOND_NS

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_about_features_is_the_generated_one() -> None:
    assert (ROOT / "docs/features.md").read_text(encoding="utf-8") == catalog.as_markdown()


def test_there_are_twenty_features_each_of_its_family_with_a_stream_and_a_warm_up() -> None:
    assert len(catalog.layout()) == 20
    for name, family in catalog.FAMILIES:
        assert family.SPECS
        for spec in family.SPECS:
            assert spec.family == name
            assert spec.needs in ("tape", "book")
            assert 1 <= spec.warmup_s <= 300
            assert all((spec.formula, spec.unit, spec.nan_rule, spec.source))
            assert "|" not in spec.formula + spec.nan_rule + spec.source


def test_a_window_in_a_name_is_never_longer_than_its_warm_up() -> None:
    for spec in catalog.specs():
        tail = spec.name.rsplit("_", 1)[1]
        if tail.endswith("s") and tail[:-1].isdigit():
            assert spec.warmup_s >= int(tail[:-1])


def test_some_features_of_each_stream_are_required() -> None:
    required = {s.needs for s in catalog.specs() if s.warmup_s <= catalog.REQUIRED_WARMUP_S}
    assert required == {"tape", "book"}


def test_another_sampling_step_is_refused_with_its_value() -> None:
    with pytest.raises(ConfigError, match="500000000"):
        catalog.layout(500_000_000)
    assert catalog.layout(SECOND_NS).fingerprint == catalog.layout().fingerprint


def test_states_are_contiguous_arrays_with_the_symbols_first_and_stay_small() -> None:
    total = 0
    for _, family in catalog.FAMILIES:
        for array in family.init(3):
            assert isinstance(array, np.ndarray)
            assert array.flags.c_contiguous
            assert array.shape[0] == 3
            total += array.nbytes
    assert total / 3 <= 150 * 1024
