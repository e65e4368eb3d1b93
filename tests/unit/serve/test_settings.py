from __future__ import annotations

import pytest
from pydantic import ValidationError

from foreshock.settings import Serve
from serve.settings import ServeSettings


def test_the_defaults_ask_for_no_more_than_four_tenths_of_a_core() -> None:
    settings = ServeSettings()
    asked = settings.api_cpus + settings.gate_cpus + settings.max_replicas * settings.scorer_cpus
    assert asked <= 0.4 + 1e-9


def test_more_than_the_budget_is_refused() -> None:
    with pytest.raises(ValidationError, match="cpu_budget"):
        ServeSettings(api_cpus=0.3)


def test_the_tree_s_section_fits() -> None:
    section = Serve()
    settings = ServeSettings.of(section, stale_after_s=5.0)
    assert (settings.port, settings.stale_after_s) == (section.port, 5.0)
    assert settings.api_cpus == section.api_cpus


def test_every_setting_is_described() -> None:
    assert all(field.description for field in ServeSettings.model_fields.values())
