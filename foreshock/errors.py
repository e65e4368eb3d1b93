"""Every error that foreshock raises on purpose, in one tree.

ForeshockError
├── ConfigError            a setting is unknown, of the wrong type or out of range
├── InstrumentError        a symbol is unknown or its tick or lot size unusable
├── RowError               rows that break the data language (market/rows.py)
├── SequenceError          a caller fed rows out of order
├── SnapshotError          an engine snapshot that does not fit this engine
├── DatasetError           a dataset that must not be trained on (spans, classes, constants …)
│   └── OverlapError       labels of two folds overlap in time
├── ModelError             a model that cannot be loaded, or scored, as asked
│   ├── CertificateError   the exported graph does not decide as the trainer did
│   └── DomainError        a model was asked about a market that it was not made for
├── VenueError             a venue that does not answer
├── StoreError             a store that cannot be reached or refused a write
└── RecordingError         a recording that cannot be read
    └── ArchiveError       a file of history is damaged, or not what it says

Messages carry the offending value, because the reader of a log has nothing else.
"""

from __future__ import annotations


class ForeshockError(Exception):
    """Root of the tree: catch this to catch whatever foreshock raises on purpose."""


class ConfigError(ForeshockError):
    """A setting is unknown, of the wrong type or out of range."""


class InstrumentError(ForeshockError):
    """A symbol is unknown, or its tick or lot size cannot be used."""


class RowError(ForeshockError):
    """Rows break the data language of `foreshock.market.rows`."""


class SequenceError(ForeshockError):
    """Rows were fed out of (arrival_ns, seq) order."""


class SnapshotError(ForeshockError):
    """An engine snapshot does not fit this engine: other symbols, other features, damaged."""


class DatasetError(ForeshockError):
    """A dataset must not be trained on; the message names why."""


class OverlapError(DatasetError):
    """The label spans of two folds overlap in time."""


class ModelError(ForeshockError):
    """A model cannot be loaded or scored as asked."""


class CertificateError(ModelError):
    """The exported graph does not decide as the trainer did."""


class DomainError(ModelError):
    """A model was asked about a market that it was not made for."""


class VenueError(ForeshockError):
    """A venue does not answer; the message names the address."""


class StoreError(ForeshockError):
    """A store cannot be reached, or refused a write."""


class RecordingError(ForeshockError):
    """A recording cannot be read; the message names the file and the place."""


class ArchiveError(RecordingError):
    """A file of history is damaged or not what it says. `reason` is one word for lists and tests:
    checksum, not_a_zip, truncated, corrupt, members, text, columns, order, format …"""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ArchiveError], tuple[str, str]]:
        return ArchiveError, (self.reason, str(self))
