"""What a local exchange is told: what to play, where to listen, how strict to be."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from actors.exchange_sources import RecordingSource, SimulationSource, Source
from foreshock.errors import ConfigError
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.raw_sessions import read_raw_session


class LocalExchangeSettings(BaseModel):
    """What to play and where to listen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    simulation: SimulationSettings | None = Field(
        None, description="The simulation to play. Exactly one of this and `recording` is given."
    )
    recording: tuple[str, ...] = Field(
        (), description="Files of one recorded session of real frames, played instead."
    )
    speed: float | Literal["max"] = Field(
        1.0, description='Seconds played a second; "max" is as fast as the clients read.'
    )
    begin: Literal["at_once", "first_subscriber"] = Field(
        "at_once",
        description="When to play: from the start of the server, or from the first subscription "
        "on, so that a recording loses no frame.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on: loopback, if not told.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    queue_frames: int = Field(
        20_000, ge=100, description="A client that is so many frames behind is disconnected."
    )
    lifetime_s: float = Field(
        24 * 3600.0, gt=0, description="A connection of this age is cut, as the venue does."
    )
    connects_per_5min: int = Field(
        300, ge=1, description="More connections from one address in five minutes are refused."
    )
    streams_per_socket: int = Field(1024, ge=1, description="More streams are refused.")
    messages_per_s: int = Field(
        5, ge=1, description="A connection that says more in a second is cut (USD-M: twice that)."
    )
    unrouted: Literal["silent", "served"] = Field(
        "silent",
        description="What the USD-M paths without /public or /market do with a subscription: "
        "accept it and deliver nothing, as the venue does since 2026, or serve it.",
    )
    fault_seed: int = Field(0, ge=0, description="Of the damage that faults do to frames.")


def make_source(settings: LocalExchangeSettings) -> Source:
    """The source that the settings name. Raises ConfigError, RecordingError."""
    if (settings.simulation is None) == (not settings.recording):
        raise ConfigError("give either a simulation or a recording to play")
    if settings.simulation is not None:
        return SimulationSource(settings.simulation, settings.speed)
    session = read_raw_session([Path(path) for path in settings.recording])
    return RecordingSource(session.events, session.instruments, session.market, settings.speed)
