"""What became of a model: who let which alias mean which version, when and why; told to the audit
log of the ledger, each change once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from foreshock.stores.ledger import Ledger

KEPT: Final = 100  # changes of a name that the index keeps; the audit log keeps all
_LOOKED_AT: Final = 10_000  # entries of the audit log among which one told before is looked for


@dataclass(frozen=True, slots=True)
class Change:
    """One move of an alias.

    number    1, 2, … by model name
    at_ns     when, UTC
    actor     a person or a part of the system
    action    promote, force (against the gate's verdict), rollback, or point (no card was asked)
    before    the version that it meant before; None where it meant none
    reason    in the actor's words
    verdict   the gate's, on the version's card; empty where it was not asked
    """

    number: int
    at_ns: int
    actor: str
    action: str
    alias: str
    before: str | None
    version: str
    reason: str = ""
    verdict: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def before_last(history: Sequence[Change], alias: str) -> str | None:
    """The version that a rollback of `alias` leads to: a rollback takes the last step back, so that
    the next one goes further and never to and fro. None where there is no step to take back."""
    steps: list[str] = []
    for change in history:
        if change.alias != alias:
            continue
        if change.action == "rollback":
            del steps[-1:]
        elif not steps or steps[-1] != change.version:
            if not steps and change.before is not None:
                steps.append(change.before)  # what was said before the history begins
            steps.append(change.version)
    return steps[-2] if len(steps) > 1 else None


def tell(name: str, entry: dict[str, Any], ledger: Ledger) -> int:
    """Write into the audit log what `entry`, a name's part of the index, has that it lacks, and
    mark it as told; how many changes were written. Where a process died between the two, the log
    itself is asked. Raises StoreError."""
    told = entry.get("told", 0)
    lines = [line for line in entry.get("history", []) if line["number"] > told]
    if not lines:
        return 0
    known = {
        (each["detail"].get("model"), each["detail"].get("number"), each["at_ns"])
        for each in ledger.audit_trail(_LOOKED_AT)
        if each["action"].startswith("model.")
    }
    new = [line for line in lines if (name, line["number"], line["at_ns"]) not in known]
    for line in new:
        ledger.audit(line["at_ns"], line["actor"], f"model.{line['action']}", _detail(name, line))
    entry["told"] = lines[-1]["number"]
    return len(new)


def _detail(name: str, line: Mapping[str, Any]) -> dict[str, Any]:
    words = ("number", "alias", "before", "version", "reason", "verdict")
    return {"model": name, **{word: line[word] for word in words}}
