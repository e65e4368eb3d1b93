"""Build hook: the `foreshock` command goes with an editable install, and only with that.

The command lives in `cluster/`, which a wheel does not carry; `[project.scripts]` knows no such
difference and would put a script that cannot run into every wheel.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommandHook(BuildHookInterface):
    """Adds scripts/foreshock to the environment's bin folder where the build is editable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is "standard" for a wheel and "editable" for an editable install."""
        if version == "editable":
            build_data["shared_scripts"]["scripts/foreshock"] = "foreshock"
