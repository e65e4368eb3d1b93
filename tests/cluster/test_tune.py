"""One small sweep on a real local Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foreshock.models.boosted import BoostedSettings
from foreshock.validation.walk_forward import WalkForwardSettings
from pipelines.training import TrainingSettings
from pipelines.tune_models import tune
from tests.reference.training import make_set


@pytest.mark.timeout(240)
def test_a_sweep_on_ray_makes_the_model_that_one_in_process_makes(
    local_ray: Any, tmp_path: Path
) -> None:
    reports = {
        use_ray: tune(
            make_set(),
            tmp_path / f"ray-{use_ray}",
            settings=TrainingSettings(walk=WalkForwardSettings(folds=2), draws=60),
            base=BoostedSettings(trees=15, leaves=7),
            trials=3,
            seed=5,
            use_ray=use_ray,
        )
        for use_ray in (True, False)
    }
    assert local_ray.is_initialized()  # a connection that was there before stays
    assert reports[True]["trials"] == reports[False]["trials"]
    for name in ("model.onnx", "card.json", "certificate.json"):
        on_ray, in_process = (tmp_path / f"ray-{where}" / name for where in (True, False))
        assert on_ray.read_bytes() == in_process.read_bytes()
