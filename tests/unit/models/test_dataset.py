"""foreshock.models.dataset: what a training set refuses to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.models.dataset import MANIFEST_KEYS, TrainingSet
from tests.reference.training import SECOND, make_set


@pytest.fixture
def data() -> TrainingSet:
    return make_set(steps=20)


def changed(data: TrainingSet, name: str, change: Callable[[Any], Any]) -> TrainingSet:
    """A copy with one array changed in place or replaced."""
    array = getattr(data, name).copy()
    return replace(data, **{name: change(array)})


def put(*place: Any) -> Callable[[Any], Any]:
    *where, value = place

    def change(array: Any) -> Any:
        array[tuple(where)] = value
        return array

    return change


def test_a_good_set_passes_and_is_returned(data: TrainingSet) -> None:
    assert data.check() is data
    assert replace(data, weights=np.ones(len(data), np.float32)).check()


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("labels", put(3, 0, 5), r"something else than -1, 0 and 1: first at \(3, 0\)"),
        ("labels", lambda a: np.where(a == -1, np.nan, a), "labels is NaN at row"),
        ("labels", lambda a: a.astype(np.int64), "expected int8"),
        ("X", put(4, 2, np.inf), r"X is infinite: first at \(4, 2\)"),
        ("X", lambda a: a.astype(np.float64), "expected float32"),
        ("X", lambda a: a[:, :-1], r"\(60, 5\)"),
        ("t1_ns", put(5, 1, 0), r"ends before it begins .* first at \(5, 1\)"),
        ("t1_ns", lambda a: a + 11 * SECOND, r"of the future: its span ends behind its horizon"),
        ("symbol", put(2, 9), "symbol is no index"),
        ("symbol", put(1, 0), "AAAUSDT has two rows at t0_ns"),
        ("outcome_bps", put(0, 0, np.nan), "outcome_bps of a known label"),
        ("far_bps", put(0, 1, np.nan), "has no barrier"),
        ("bill_bps", put(0, 1, np.nan), "bill_bps of a known label"),
        ("bill_bps", lambda a: a[:, 0], "bill_bps is float32"),
    ],
)
def test_a_spoilt_array_is_refused_with_the_place(
    data: TrainingSet, name: str, change: Callable[[Any], Any], reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        changed(data, name, change).check()


def recorded(data: TrainingSet, **to_ns: int) -> TrainingSet:
    return replace(data, manifest={**data.manifest, "recorded_to_ns": to_ns})


def test_labels_known_before_their_spans_end_are_refused(data: TrainingSet) -> None:
    known = data.labels >= 0
    end_ns = int(data.t1_ns[known].max())
    everywhere = dict.fromkeys(data.symbols, end_ns)
    assert recorded(data, **everywhere).check()
    row, h = (int(i) for i in np.argwhere(known & (data.t1_ns == end_ns))[0])
    name = data.symbols[data.symbol[row]]
    place = f"{name} at t0_ns {data.t0_ns[row]} has a known label at {data.horizons_s[h]} s"
    with pytest.raises(DatasetError, match=f"of the future: {place} .* only up to {end_ns - 1}"):
        recorded(data, **{**everywhere, name: end_ns - 1}).check()
    with pytest.raises(DatasetError, match=rf"recorded_to_ns says nothing of \['{name}'\]"):
        recorded(data, **{k: v for k, v in everywhere.items() if k != name}).check()
    # A censored label's span may end behind the data: that is why it is censored.
    assert (data.t1_ns[~known] > end_ns).any()


def test_weights_below_zero_are_refused(data: TrainingSet) -> None:
    with pytest.raises(DatasetError, match="weights is negative"):
        replace(data, weights=np.full(len(data), -1, np.float32)).check()
    with pytest.raises(DatasetError, match="weights is 0 throughout"):
        replace(data, weights=np.zeros(len(data), np.float32)).check()


@pytest.mark.parametrize("key", MANIFEST_KEYS)
def test_each_key_of_the_manifest_is_needed(data: TrainingSet, key: str) -> None:
    manifest = {k: v for k, v in data.manifest.items() if k != key}
    with pytest.raises(DatasetError, match=key):
        replace(data, manifest=manifest).check()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("horizons_s", [20, 10], "must ascend"),
        ("required_features", ["volume"], r"no feature: \['volume'\]"),
        ("feature_names", ["a", "a", "b", "c", "d", "e"], "named twice"),
        ("feature_names", None, "the manifest's feature_names: .* got None"),
        ("feature_names", [1, 2], r"the manifest's feature_names\.0: .* valid string, got 1"),
        ("feature_digests", ["a"], "the manifest's feature_digests"),
        ("required_features", "volume", "the manifest's required_features"),
        ("layout_fingerprint", 7, "the manifest's layout_fingerprint"),
        ("horizons_s", 5, "the manifest's horizons_s"),
        ("horizons_s", ["x"], r"the manifest's horizons_s\.0: .* valid integer, got 'x'"),
        ("domain", "simulation", "the manifest's domain"),
        ("domain", {"source": "simulation", "tier": "book"}, r"domain\.market: Field required"),
        ("recorded_to_ns", {"AAAUSDT": "now"}, r"recorded_to_ns\.AAAUSDT"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_is_of_no_use_is_refused(
    data: TrainingSet, key: str, value: Any, reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        replace(data, manifest={**data.manifest, key: value}).check()


def test_a_part_of_the_features_keeps_rows_digests_and_what_is_required(data: TrainingSet) -> None:
    part = data.with_features(["feature_[35]", "feature_1"])
    assert part.feature_names == ("feature_1", "feature_3", "feature_5")
    assert part.check().X.tobytes() == np.ascontiguousarray(data.X[:, [1, 3, 5]]).tobytes()
    assert part.manifest["required_features"] == ["feature_1"]
    assert list(part.manifest["feature_digests"]) == list(part.feature_names)
    assert part.manifest["layout_fingerprint"] != data.manifest["layout_fingerprint"]
    assert part.fingerprint != data.fingerprint
    assert data.with_features(["*"]) is data
    with pytest.raises(DatasetError, match=r"called \['volume\*'\]"):
        data.with_features(["feature_1", "volume*"])


def test_a_set_without_rows_is_refused(data: TrainingSet) -> None:
    with pytest.raises(DatasetError, match="no rows"):
        data.take(np.zeros(0, np.int64)).check()


def test_order_is_restored_and_the_fingerprint_knows_every_byte(data: TrainingSet) -> None:
    shuffled = data.take(np.random.default_rng(0).permutation(len(data)))
    assert shuffled.fingerprint != data.fingerprint
    assert shuffled.in_order().fingerprint == data.fingerprint
    for name, array in data.arrays().items():
        flipped = array.copy()
        flipped.view(np.uint8).reshape(-1)[0] ^= 1
        assert replace(data, **{name: flipped}).fingerprint != data.fingerprint, name
