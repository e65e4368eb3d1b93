"""What the pages name must exist: verbs, make targets, modules, files, functions, doors."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import numpy as np
import pytest
import typer
from fastapi import FastAPI
from rich.console import Console
from starlette.routing import Match

from cluster.main import VERBS, build_app
from cluster.table import Snapshot, render
from foreshock.config import ENV_PREFIX, leaves
from foreshock.market.instruments import from_exchange_info
from foreshock.market.rows import CONNECTED, as_words
from foreshock.settings import Config
from foreshock.venues.binance import BOOK_FAMILY, BinanceSession
from serve.api import create_api
from serve.board import Reader
from serve.requests import PredictRequest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
ROOMS = {
    *("foreshock", "actors", "pipelines", "serve", "cluster"),
    *("configs", "tests", "benchmarks", "docs", "scripts", "examples"),
}
SUFFIXES = (".py", ".yaml", ".md", ".lock", ".toml", ".sh")


class Said(NamedTuple):
    """A piece of code on a page."""

    page: Path
    text: str


def _said() -> Iterator[Said]:
    """Every line of a fenced block (continued lines joined) and every inline piece of code."""
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for block in blocks:
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                yield Said(page, line.strip())
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for piece in re.findall(r"`([^`]+)`", prose):
            yield Said(page, " ".join(piece.split()))


SAID = list(_said())


def words_of(text: str) -> list[str]:
    """The words of a command, without a comment behind it."""
    return shlex.split(text, comments=True)


def verb_and_rest(words: list[str]) -> tuple[str, list[str]]:
    """("data list", […]) of ["data", "list", …]; the first word alone where nothing fits."""
    for n in (2, 1):
        if " ".join(words[:n]) in VERBS:
            return " ".join(words[:n]), words[n:]
    return words[0], words[1:]


def options_of(verb: str) -> set[str]:
    """The options that the command line itself offers for a verb."""
    command: Any = typer.main.get_command(build_app())
    for word in verb.split():
        command = command.commands[word]
    return {"--help", *(name for given in command.params for name in given.opts)}


def said_verbs() -> list[tuple[str, str, list[str]]]:
    """(page, verb, words behind it) of every `foreshock …` on a page."""
    found = []
    for page, text in SAID:
        command = re.match(r"(?:\.venv/bin/)?foreshock ([a-z].*)", text)
        if command is not None and not re.match(r"[a-z ]+:", command[1]):
            found.append((page.name, *verb_and_rest(words_of(command[1]))))
    return found


def test_every_verb_on_a_page_exists_with_its_options() -> None:
    found = said_verbs()
    assert len(found) > len(VERBS)
    for page, verb, rest in found:
        assert verb in VERBS, f"{page}: foreshock {verb}"
        unknown = {word for word in rest if word.startswith("--")} - options_of(verb)
        assert not unknown, f"{page}: foreshock {verb} {unknown}"


def test_every_verb_is_in_the_readme() -> None:
    assert {verb for page, verb, _ in said_verbs() if page == "README.md"} == set(VERBS)


def test_every_make_target_on_a_page_exists() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    found = [(page.name, words_of(text)) for page, text in SAID if re.match(r"make [a-z]", text)]
    assert len(found) >= 8
    for page, (_, target, *rest) in found:
        assert target in phony[1].split(), f"{page}: make {target}"
        if target == "demo":
            given = words_of(" ".join(rest).removeprefix("ARGS="))
            assert {w for w in given if w.startswith("--")} <= options_of("demo"), (page, given)


def test_every_module_on_a_page_exists_with_its_options() -> None:
    found = [
        (page.name, module[1], re.findall(r"--[a-z-]+", text[module.end() :]))
        for page, text in SAID
        if (module := re.search(r"python -m ([a-z_.]+)(?=\s|$)", text)) is not None
    ]
    assert found
    for page, name, options in found:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, f"{page}: python -m {name}"
        source = Path(spec.origin).read_text()
        assert all(f'"{option}"' in source for option in options), f"{page}: {name} {options}"


def test_every_file_on_a_page_exists() -> None:
    files = [f"/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).rglob("*.*")]
    files += [f"/{path.name}" for path in ROOT.iterdir()]
    found = 0
    for page, text in SAID:
        if not re.fullmatch(r"[\w./*-]+", text):
            continue
        if "/" in text and text.partition("/")[0] in ROOMS:
            found += 1
            assert list(ROOT.glob(text.rstrip("/"))), f"{page.name}: {text}"
        elif text.endswith(SUFFIXES):
            found += 1
            assert any(name.endswith(f"/{text}") for name in files), f"{page.name}: {text}"
    assert found > 50


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not urlsplit(target).scheme:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_function_on_a_page_is_in_the_file_named_beside_it() -> None:
    pattern = re.compile(r"`([A-Za-z_.]+)`\s+(?:of|in|\()\s*`((?:\w+/)+\w+\.py)`")
    found = [(page, *pair) for page in PAGES for pair in pattern.findall(page.read_text())]
    assert len(found) >= 15
    for page, name, file in found:
        last = re.escape(name.rpartition(".")[2])
        source = (ROOT / file).read_text()
        defined = re.search(rf"^\s*(?:async )?(?:def|class) {last}\b|^{last}\b.*=", source, re.M)
        assert defined, f"{page.name}: {name} in {file}"


@pytest.fixture(scope="module")
def api() -> FastAPI:
    """The application's routes; nothing here asks its reader."""
    return create_api(cast(Reader, None))


def answers(api: FastAPI, path: str, method: str) -> bool:
    scope = {"type": "http", "path": path, "method": method, "root_path": "", "headers": []}
    return any(route.matches(scope)[0] == Match.FULL for route in api.routes)


def test_every_door_on_a_page_exists(api: FastAPI) -> None:
    assert not answers(api, "/api/v1/nothing", "GET")
    found = 0
    for page, text in SAID:
        for path in re.findall(r"/api/v1/[\w/{}-]+", text):
            found += 1
            there = answers(api, path, "GET") or answers(api, path, "POST")
            assert there, f"{page.name}: {path}"
    assert found >= 10


def test_every_curl_on_a_page_is_a_request_that_the_api_takes(api: FastAPI) -> None:
    found = 0
    for page, text in SAID:
        if not text.startswith("curl "):
            continue
        words = words_of(text)
        url = next(word for word in words if "://" in word)
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        assert answers(api, urlsplit(url).path, method), f"{page.name}: {text}"
        if "-d" in words and "…" not in text:
            PredictRequest.model_validate_json(words[words.index("-d") + 1])
        found += 1
    assert found >= 8


def test_the_journeys_frame_becomes_the_rows_that_are_shown() -> None:
    page = (ROOT / "docs" / "journey.md").read_text()
    frame, shown = (
        re.search(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        for kind in ("json", "rows")
    )
    assert frame is not None and shown is not None
    told = [[int(w) for w in line.split()] for line in shown[1].splitlines() if line[:1].isdigit()]
    assert [len(line) for line in told] == [10, 10, 10]
    at_ns = told[0][0]

    def listed(base: str, tick: str, lot: str) -> dict[str, Any]:
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": tick},
            {"filterType": "LOT_SIZE", "stepSize": lot},
        ]
        return {
            "symbol": f"{base}USDT", "baseAsset": base, "quoteAsset": "USDT", "status": "TRADING",
            "filters": filters,
        }  # fmt: skip

    info = {"symbols": [listed("BTC", "0.01", "0.00001"), listed("ETH", "0.01", "0.0001")]}
    session = BinanceSession(from_exchange_info(info, "binance-spot"))
    session.start(at_ns)
    session.connection(0, CONNECTED, BOOK_FAMILY, ("BTCUSDT", "ETHUSDT"), 0, at_ns)
    session.wanted()
    before = b'{"lastUpdateId":90121,"bids":[["3106.28","1"]],"asks":[["3106.34","1"]]}'
    session.receive_snapshot("ETHUSDT", before, 1000, at_ns)
    rows = session.receive([frame[1].strip().encode()], np.array([at_ns], np.int64))
    np.testing.assert_array_equal(as_words(rows), np.array(told, np.int64))


def test_the_readmes_picture_is_what_the_table_draws() -> None:
    shown = re.search(r"^```screen\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.M)
    assert shown is not None
    headline, columns, *lines, _ = shown[1].splitlines()
    verdicts, market = {}, {}
    for line in lines:
        symbol, price, state, epoch, *told = line.split()
        chances = [None if w == "–" else float(w[:-1]) / 100 for w in told[:3]]
        rest = " ".join(told[3:-2])
        signal = re.search(r"SIGNAL (\d+)(m|s) bill (\S+) bps", rest)
        verdicts[symbol] = {
            "horizons_s": [30, 60, 120],
            "probabilities": None if chances[0] is None else chances,
            "signal": signal is not None,
            "utility_bps": float(told[3]) if told[3][0] in "+-" else None,
            "reason": told[-3],
        }
        if signal is not None:
            unit_s = 60 if signal[2] == "m" else 1
            verdicts[symbol]["horizon_s"] = int(signal[1]) * unit_s
            verdicts[symbol]["bill"] = {"total_bps": float(signal[3])}
        age_s, latency_ms = float(told[-2][:-1]), float(told[-1][:-2])
        market[symbol] = {
            "last": float(price),
            "book_state": state,
            "book_epoch": int(epoch),
            "boundary_ns": -round(age_s * 1e9),
            "closed_at_ns": 0,
            "judged_ns": round(latency_ms * 1e6),
        }
    passed_s, first_s = re.findall(r"([\d.]+) s\b", headline)
    started_ns = -round(float(passed_s) * 1e9)
    watcher = {"symbols": list(market), "rows": 0, "frames": 0, "latency_ms": {"n": 0}}
    snapshot = Snapshot(
        now_ns=0,
        started_ns=started_ns,
        first_ns=started_ns + round(float(first_s) * 1e9),
        verdicts=verdicts,
        market=market,
        status={"watchers": [watcher]},
        signals=[],
        urls={},
    )
    console = Console(width=120, color_system=None)
    with console.capture() as drawn:
        console.print(render(snapshot))
    expected = [line.rstrip() for line in drawn.get().splitlines()[:-1]]
    assert [line.rstrip() for line in (headline, columns, *lines)] == expected


def test_every_setting_on_a_page_exists() -> None:
    known = {key for key, _ in leaves(Config)}
    sections = {key.rpartition(".")[0] for key in known}
    found = []
    for page, text in SAID:
        dotted = re.fullmatch(r"([a-z]+)\.[a-z_.]+", text)
        if dotted and dotted[1] in sections and not text.endswith(SUFFIXES):
            found.append((page.name, text))
        for name in re.findall(rf"\b{ENV_PREFIX}(\w+)=", text):
            found.append((page.name, name.lower().replace("__", ".")))
        for name in re.findall(r"--set ([a-z_.]+)=", text):
            found.append((page.name, name))
    assert len(found) >= 8
    for page_name, name in found:
        assert name in known | sections | {"section.key"}, f"{page_name}: {name}"


def test_every_method_on_a_page_exists() -> None:
    members = set()
    for room in ("foreshock", "actors", "pipelines", "serve", "cluster"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    body = [getattr(each, "name", None) for each in node.body]
                    members.update(f"{node.name}.{name}" for name in body)
    found = [
        (page.name, text)
        for page, text in SAID
        if re.fullmatch(r"[A-Z][a-z]\w+\.\w+", text) and not text.endswith(SUFFIXES)
    ]
    assert len(found) >= 10
    for page_name, text in found:
        assert text in members, f"{page_name}: {text}"
