"""Settings of history: where archives come from, and how politely they are asked for."""

from __future__ import annotations

from pydantic import Field

from foreshock.config import Section


class HistorySettings(Section):
    """Downloads of the venue's public archive and of its REST tail."""

    archive_url: str = Field(
        default="https://data.binance.vision",
        description="Base address of the public archive. A mirror must have the same layout, with "
        "a CHECKSUM file beside each zip.",
    )
    parallel: int = Field(
        default=4,
        ge=1,
        le=64,
        description="How many files are fetched at the same time, over all Ray tasks together.",
    )
    attempts: int = Field(
        default=5,
        ge=1,
        description="How often a file is tried before it counts as failed: after a broken "
        "connection, an answer 429 or 5xx, or a checksum that does not fit.",
    )
    back_off_s: float = Field(
        default=1.0,
        ge=0,
        description="Pause before the second attempt; it doubles with each further one. A server "
        "that answers with Retry-After is obeyed instead, up to five minutes.",
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="How long a connection may say nothing before the attempt counts as broken.",
    )
    tail_days: int = Field(
        default=3,
        ge=0,
        description="Days that end a download and that the archive does not have yet are asked for "
        "over REST when they are at most so many days old; 0 asks for none.",
    )
    rest_requests_per_s: float = Field(
        default=4.0,
        gt=0,
        description="How many REST requests a download makes in a second at most. The venue counts "
        "weights per minute and address, and running watchers need most of them.",
    )
    delays: str = Field(
        default="near",
        pattern="^(near|far)$",
        description="Which recorded delays the modelled arrival of archive rows is drawn from: "
        "near (a recorder beside the venue) or far (one a continent away).",
    )
    seed: int = Field(
        default=1,
        ge=0,
        description="Seed of the modelled arrival. The same rows and seed give the same arrival.",
    )
