"""Settings of the registry: where MLflow is."""

from __future__ import annotations

from pydantic import Field, SecretStr

from foreshock.config import Section


class RegistrySettings(Section):
    """Where the record of runs, model versions and aliases is kept for people."""

    mlflow: SecretStr | None = Field(
        default=None,
        description="Address of an MLflow server (http://host:5000) or database. Empty takes "
        "the environment's MLFLOW_TRACKING_URI, and without that a SQLite file beside the models. "
        "What speaks is decided by the directory of models: scoring never asks MLflow.",
    )

    @property
    def tracking_uri(self) -> str:
        """The address; empty where none is set."""
        return "" if self.mlflow is None else self.mlflow.get_secret_value()

    @property
    def public_uri(self) -> str:
        """The address where anybody may read it, as in a job's environment, which Ray's dashboard
        shows: empty where it holds a password, or where none is set."""
        return "" if "@" in self.tracking_uri else self.tracking_uri
