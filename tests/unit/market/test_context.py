from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.errors import RowError
from foreshock.market.clock import SECOND_NS
from foreshock.market.context import (
    CONTEXT_VALUE,
    FACT,
    Gatherer,
    GatherSettings,
    Sector,
    context_rows,
    facts_of,
    ranked,
)
from foreshock.market.rows import (
    ALL,
    CONTEXT,
    CONTEXT_DISPERSION,
    CONTEXT_FALLING,
    CONTEXT_LEADER,
    CONTEXT_MEAN,
    CONTEXT_RETURN_RANK,
    CONTEXT_RISING,
    CONTEXT_SECTOR_MEAN,
    CONTEXT_SECTOR_RANK,
    CONTEXT_VOLUME_RANK,
)

START = 1_700_000_000 * SECOND_NS
NAMES = ("BTCUSDT", "ETHUSDT", "LTCUSDT", "XRPUSDT", "SOLUSDT", "ODDUSDT")
SETTINGS = GatherSettings(
    windows_s=(5, 20),
    sectors=(
        Sector(name="money", assets=("BTC", "LTC", "XRP")),
        Sector(name="platform", assets=("ETH", "SOL")),
    ),
)
Told = dict[int, dict[str, tuple[float, float, float]]]  # by second: last, σ, volume of each symbol


def history(seed: int, seconds: int) -> Told:
    """Facts of six symbols that now and then are not known, or not told at all."""
    rng = np.random.default_rng(seed)
    price = dict.fromkeys(NAMES, 100.0)
    told: Told = {}
    for second in range(seconds):
        told[second] = {}
        for name in NAMES:
            price[name] *= math.exp(rng.normal(0, 1e-3))
            if rng.random() < 0.05:
                continue
            last = price[name] if rng.random() < 0.9 else math.nan
            sigma = 3e-4 if rng.random() < 0.9 else math.nan
            told[second][name] = (last, sigma, float(rng.integers(0, 4)))
    return told


def gather(told: Told, settings: GatherSettings = SETTINGS, names: tuple[str, ...] = NAMES) -> dict:
    """{(symbol, field): value} of the last second."""
    gatherer = Gatherer(names, settings)
    for second, facts in told.items():
        for name, fact in facts.items():
            gatherer.offer(START + second * SECOND_NS, [name], np.array([fact], FACT))
        gathered = gatherer.publish(START + second * SECOND_NS)
    return found_in(gathered.values_for(names))


def found_in(values: np.ndarray) -> dict:
    found = {(int(v["symbol"]), int(v["field"])): float(v["value"]) for v in values}
    assert len(found) == len(values)
    return found


def naive(told: Told, settings: GatherSettings) -> dict:
    now = max(told)

    def fact(name: str, back: int, which: int) -> float:
        return told.get(now - back, {}).get(name, (math.nan,) * 3)[which]

    def ranks(values: dict[str, float]) -> dict[str, float]:
        return {
            name: sum((other < mine) + 0.5 * (other == mine) for k, other in values.items()
                      if k != name) / (len(values) - 1)
            for name, mine in values.items()
        }  # fmt: skip

    out = {
        (ALL, CONTEXT_LEADER + k): fact(leader, 0, 0)
        for k, leader in enumerate(settings.leaders)
        if fact(leader, 0, 0) > 0
    }
    for k, window in enumerate(settings.windows_s):
        moved = {
            name: math.log(fact(name, 0, 0) / fact(name, window, 0))
            for name in NAMES
            if fact(name, 0, 0) > 0 and fact(name, window, 0) > 0
        }
        if len(moved) >= settings.least_symbols:
            far = {
                name: max(1e-3, 2 * math.sqrt(window) * s if s == s else 0.0)
                for name, s in ((name, fact(name, window, 1)) for name in moved)
            }
            mean = sum(moved.values()) / len(moved)
            square = sum((r - mean) ** 2 for r in moved.values()) / len(moved)
            out[ALL, CONTEXT_MEAN + k] = mean
            out[ALL, CONTEXT_DISPERSION + k] = math.sqrt(square)
            up = sum(moved[name] >= far[name] for name in moved)
            down = sum(moved[name] <= -far[name] for name in moved)
            out[ALL, CONTEXT_RISING + k] = up / len(moved)
            out[ALL, CONTEXT_FALLING + k] = down / len(moved)
            for name, rank in ranks(moved).items():
                out[NAMES.index(name), CONTEXT_RETURN_RANK + k] = rank
        for sector in settings.sectors:
            mine = {n: r for n, r in moved.items() if n.removesuffix("USDT") in sector.assets}
            for name in mine if len(mine) > 1 else ():
                s, others = NAMES.index(name), [r for n, r in mine.items() if n != name]
                out[s, CONTEXT_SECTOR_MEAN + k] = sum(others) / len(others)
                out[s, CONTEXT_SECTOR_RANK + k] = ranks(mine)[name]
    volumes = {name: fact(name, 0, 2) for name in NAMES if fact(name, 0, 0) > 0}
    if len(volumes) >= settings.least_symbols:
        for name, rank in ranks(volumes).items():
            out[NAMES.index(name), CONTEXT_VOLUME_RANK] = rank
    return out


def test_what_is_gathered_equals_the_naive_twin() -> None:
    seen: set[tuple[int, int]] = set()
    for seed in range(40):
        told = history(seed, 1 + 2 * seed)
        found, wanted = gather(told), naive(told, SETTINGS)
        assert found.keys() == wanted.keys()
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
        seen |= found.keys()
    whole = {(ALL, base + k) for base in range(100, 600, 100) for k in range(2)}
    fields = [base + k for base in (600, 800, 900) for k in range(2)] + [700]
    whole |= {(s, field) for s in range(5) for field in fields}
    assert seen == whole | {(5, 600), (5, 601), (5, 700)}  # the odd one has no sector


def test_who_tells_too_late_is_masked_and_counted_and_the_others_are_told_as_ever() -> None:
    gatherer = Gatherer(NAMES, SETTINGS)
    fact = np.array([(100.0, 1e-4, 1.0)], FACT)
    for second in range(6):
        at = START + second * SECOND_NS
        for name in NAMES[:5]:
            assert gatherer.offer(at, [name], fact)
            assert not gatherer.complete(at)
        on_time = second != 5
        if on_time:
            assert gatherer.offer(at, NAMES[5:], fact)
            assert gatherer.complete(at)
        found = found_in(gatherer.publish(at).values_for(NAMES))
        assert ((5, CONTEXT_VOLUME_RANK) in found) == on_time
        assert (0, CONTEXT_VOLUME_RANK) in found
    assert not gatherer.offer(START + 5 * SECOND_NS, NAMES[5:], fact)
    assert gatherer.late == 1


def test_a_watcher_is_told_of_its_own_symbols_under_its_own_numbers() -> None:
    told = history(3, 30)
    told[29] = dict.fromkeys(NAMES, (1.0, 1.0, 1.0))
    gatherer = Gatherer(NAMES, SETTINGS)
    gatherer.offer(START, NAMES, np.array([(1.0, 1.0, float(k)) for k in range(6)], FACT))
    gathered = gatherer.publish(START)
    found = found_in(gathered.values_for(["ODDUSDT", "NEWUSDT", "BTCUSDT"]))
    assert found[0, CONTEXT_VOLUME_RANK] == 1.0 and found[2, CONTEXT_VOLUME_RANK] == 0.0
    assert not [key for key in found if key[0] == 1]
    assert not len(Gatherer(()).publish(START).values_for(NAMES))


def test_symbols_come_and_go_and_those_that_stay_keep_what_is_known_of_them() -> None:
    told = history(7, 30)
    gatherer = Gatherer(("GONEUSDT", *NAMES[::-1]), SETTINGS)
    for second, facts in told.items():
        if second == 15:
            gatherer.watch(NAMES)
        for name, fact in facts.items():
            gatherer.offer(START + second * SECOND_NS, [name], np.array([fact], FACT))
        gathered = gatherer.publish(START + second * SECOND_NS)
    assert gatherer.symbols == NAMES
    assert found_in(gathered.values_for(NAMES)) == pytest.approx(gather(told), rel=1e-12)


def test_nothing_is_known_behind_a_jump_of_time_and_nothing_stays_from_a_round_before() -> None:
    told = history(8, 10)
    far = 1_000_003
    later = {**told, far: dict.fromkeys(NAMES, (1.0, 1.0, 1.0))}
    fields = {field for _, field in gather(later)}
    assert fields == {CONTEXT_LEADER, CONTEXT_LEADER + 1, CONTEXT_VOLUME_RANK}


def test_prices_that_are_none_are_not_known() -> None:
    for wrong in (0.0, -1.0, math.inf, math.nan):
        told: Told = {s: dict.fromkeys(NAMES, (100.0, 0.0, 1.0)) for s in range(6)}
        told[5]["BTCUSDT"] = (wrong, 0.0, 1.0)
        found = gather(told)
        assert all(math.isfinite(value) for value in found.values())
        assert (0, CONTEXT_RETURN_RANK) not in found
        assert (1, CONTEXT_RETURN_RANK) in found


def test_one_process_alone_gathers_what_a_supervisor_would() -> None:
    bills = np.zeros(len(NAMES), [("bid", "<f8"), *FACT.descr, ("ask", "<f8")])
    bills["last"], bills["volume_60s"] = 100.0, np.arange(6)
    values = np.frombuffer(Gatherer(NAMES, SETTINGS).alone(START, bills), CONTEXT_VALUE)
    assert found_in(values) == gather(
        {0: {name: (100.0, 0.0, float(k)) for k, name in enumerate(NAMES)}}
    )
    assert facts_of(bills).dtype == FACT


def test_rows_carry_what_was_told_and_strangers_are_refused() -> None:
    values = np.array([(ALL, 100, 1.5), (1, 600, -2.0)], CONTEXT_VALUE)
    rows = context_rows(values.tobytes(), 2, START, START + 7, START + 9, 40)
    assert rows["kind"].tolist() == [CONTEXT] * 2 and rows["symbol"].tolist() == [ALL, 1]
    assert rows["seq"].tolist() == [40, 41] and set(rows["arrival_ns"]) == {START + 9}
    assert set(rows["id"]) == {START + 7} and set(rows["id2"]) == {START}
    assert rows["a"].tolist() == [100, 600]
    assert rows["b"].view(np.float64).tolist() == [1.5, -2.0]
    assert not len(context_rows(b"", 2, START, START, START, 0))
    for body, symbols in ((values.tobytes()[:-1], 2), (values.tobytes(), 1)):
        with pytest.raises(RowError):
            context_rows(body, symbols, START, START, START, 0)
    with pytest.raises(RowError):
        context_rows(np.array([(-2, 1, 1.0)], CONTEXT_VALUE).tobytes(), 2, 0, 0, 0, 0)


def test_ranks_go_from_nothing_to_one_with_equals_in_their_middle() -> None:
    nan = math.nan
    assert ranked(np.array([3.0, nan, 1.0, 2.0])).tolist() == pytest.approx(
        [1.0, nan, 0.0, 0.5], nan_ok=True
    )
    assert ranked(np.array([5.0, 5.0, 9.0, 5.0])).tolist() == pytest.approx(
        [1 / 3, 1 / 3, 1.0, 1 / 3]
    )
    assert np.isnan(ranked(np.array([1.0, nan]))).all()


def test_every_symbol_of_the_usual_sectors_has_one_sector() -> None:
    settings = GatherSettings()
    assert settings.sector_of("BTCUSDT") == "money" and settings.sector_of("ETHUSDT") == "platform"
    assert settings.sector_of("1000PEPEUSDT") == "meme" and settings.sector_of("ZZZUSDT") is None
    sector = {"name": "x", "assets": ["A"]}
    with pytest.raises(ValueError, match="twice"):
        GatherSettings.model_validate({"sectors": [sector, sector]})
    for windows in ((), (0,), (301,), (60, 60)):
        with pytest.raises(ValueError, match=r"window|ascend"):
            GatherSettings(windows_s=windows)
