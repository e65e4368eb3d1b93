"""Write the pages of documentation that are generated from the source: `make docs`.

With --check nothing is written, and the exit code is 1 where a page is not what it would be."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from foreshock.features import catalog
from foreshock.features.settings import FeatureSettings

ROOT = Path(__file__).resolve().parent.parent


_PARAMETERS = """\
# Every parameter of every family, as they are by default: copy what you change, and lay it over any
# mode with `--config`. Windows and half-lives are seconds unless the name says otherwise. Another
# value makes another feature, with another name or digest; `families` says which are computed.
# Written by `make docs`.
"""


def parameters() -> str:
    """configs/features.yaml."""
    told = {"features": FeatureSettings().model_dump(mode="json")}
    body = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, default_flow_style=None)
    return _PARAMETERS + body


def pages() -> dict[Path, str]:
    """Path → the text that belongs there."""
    return {
        ROOT / "docs" / "features.md": catalog.as_markdown(),
        ROOT / "configs" / "features.yaml": parameters(),
    }


def main(arguments: list[str]) -> int:
    """Write or check every page and return the exit code."""
    stale = [
        (path, text)
        for path, text in pages().items()
        if not path.exists() or path.read_text() != text
    ]
    for path, text in stale:
        print(f"{path.relative_to(ROOT)} {'is stale' if '--check' in arguments else 'written'}")
        if "--check" not in arguments:
            path.write_text(text)
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
