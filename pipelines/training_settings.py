"""How the shipped model is made and judged: one object, whose digest is part of a version."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from foreshock.models.calibration import CalibrationSettings
from foreshock.models.outlook import OutlookSettings
from foreshock.validation.promotion import PromotionSettings
from foreshock.validation.rule import RuleSettings
from foreshock.validation.walk_forward import WalkForwardSettings


class TrainingSettings(BaseModel):
    """How a model is made and when it may be promoted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    walk: WalkForwardSettings = Field(
        default=WalkForwardSettings(),
        description="How time is cut into train, calibration and test.",
    )
    calibration: CalibrationSettings = Field(
        default=CalibrationSettings(), description="How raw scores become probabilities."
    )
    promotion: PromotionSettings = Field(
        default=PromotionSettings(), description="What a horizon must show before it may speak."
    )
    rule: RuleSettings = Field(
        default=RuleSettings(), description="How a model's words are traded where they are judged."
    )
    block_horizons: float = Field(
        default=2.0, ge=1, description="Length of a block of the skill's bootstrap, in horizons."
    )
    min_spoken: int = Field(
        default=20, ge=1, description="A threshold is fitted on at least this many rows above it."
    )
    baselines: tuple[str, ...] = Field(
        default=("logistic", "order_flow"),
        description="Kinds of models that every report shows beside the model, on the same rows.",
    )
    outlook: OutlookSettings = Field(
        default=OutlookSettings(),
        description="What the model says of the outcome's size beside the chance of a surge.",
    )
    certificate_rows: int = Field(
        default=1_000_000,
        ge=0,
        description="Rows at least on which the exported graph is compared with its trainer.",
    )
    max_age_s: float = Field(
        default=0.0, ge=0, description="How long a model may speak, in seconds; 0 never expires."
    )
    version: str = Field(
        default="0.2.0", description="Version of the way models are made (semantic)."
    )
