"""An import-linter contract type that reads like DESIGN's list of who may import whom.

import-linter's own `forbidden` contracts name what is *not* allowed, so that a new room would be
free to import anything until somebody thinks of it. Here each room names what it may import
directly, everything else is refused, and so is a room that the table does not know.
"""

from __future__ import annotations

from collections.abc import Mapping

import grimp
from importlinter import Contract, ContractCheck, fields, output


def parse_rules(lines: list[str]) -> dict[str, tuple[str, ...]]:
    """["labels -> market, costs", "market ->"] → {"labels": ("market", "costs"), "market": ()}.

    Raises ValueError where a line has no arrow or a room appears twice."""
    rules: dict[str, tuple[str, ...]] = {}
    for line in lines:
        room, arrow, allowed = (part.strip() for part in line.partition("->"))
        if not arrow or room in rules:
            raise ValueError(f"import rule {line!r} has no arrow, or its room appears twice")
        rules[room] = tuple(name.strip() for name in allowed.split(",") if name.strip())
    return rules


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def violations(
    imports: Mapping[str, set[str]],
    container: str,
    rules: Mapping[str, tuple[str, ...]],
    common: tuple[str, ...] = (),
) -> list[str]:
    """The sentences that describe every direct import the table does not allow.

    imports    module → modules it imports directly, full names
    container  the package whose rooms the table is about; "" for the top level
    rules      room → what it may import, names relative to the container
    common     what everybody may import
    """
    prefix = f"{container}." if container else ""
    found: list[str] = []
    for module, targets in sorted(imports.items()):
        if not module.startswith(prefix):
            continue
        room = module.removeprefix(prefix).partition(".")[0]
        if room not in rules:
            found.append(f"{module}: the room {prefix}{room} has no line in the table")
            continue
        allowed = [prefix + name for name in (room, *rules[room], *common)]
        for target in sorted(targets):
            if not any(_is_within(target, prefix + known) for known in rules):
                continue  # the container itself, or nothing of ours
            if not any(_is_within(target, name) for name in allowed):
                found.append(f"{module} imports {target}")
    return found


class RoomsContract(Contract):
    """`rules` allow direct imports between the rooms of `container`; nothing else is allowed."""

    container = fields.StringField(required=False, default="")
    rules = fields.ListField(subfield=fields.StringField())
    common = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        """Called by import-linter with the graph of every module."""
        rules = parse_rules(self.rules)
        ours = {m for m in graph.modules if not graph.is_module_squashed(m)}
        imports = {m: graph.find_modules_directly_imported_by(m) & ours for m in ours}
        found = violations(imports, self.container, rules, tuple(self.common))
        return ContractCheck(kept=not found, metadata={"violations": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import that is not allowed."""
        for sentence in check.metadata["violations"]:
            output.print_error(sentence)
