"""A download on Ray: as many at once as was said, and the very bytes of a serial one."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import SPOT
from foreshock.stores.history import History, start_ns
from foreshock.stores.history_settings import HistorySettings
from pipelines.download_history import Wanted, download
from tests.reference.archive_server import AGG_TRADES, ArchiveServer, agg_trades, csv

FIRST = date(2024, 3, 1)
DAYS = 12
PATH = "data/spot/daily/aggTrades/{0}/{0}-aggTrades-{1}.zip"


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_parallel_and_serial_downloads_are_the_same_bytes(local_ray: Any, tmp_path: Path) -> None:
    days = [FIRST + timedelta(days=n) for n in range(DAYS)]
    wanted = {"market": SPOT, "kinds": ("aggTrades",), "symbols": ("AUSDT", "BUSDT")}
    wanted |= {"first": days[0], "last": days[-1], "tail": False}
    with ArchiveServer() as server:
        for seed, symbol in enumerate(wanted["symbols"]):
            for day in days:
                text = csv(agg_trades(day, 300, seed), AGG_TRADES)
                server.put(PATH.format(symbol, day), text)
        broken, wrong = (PATH.format("BUSDT", days[n]) for n in (3, 4))
        server.faults[broken] = ["503", "cut"]
        server.put_bytes(wrong, server.files[wrong], sha256="f" * 64)
        settings = HistorySettings(archive_url=server.url, back_off_s=0, parallel=3)
        reports = {}
        for name, use_ray in (("parallel", True), ("serial", False)):
            server.most_at_once = 0
            reports[name] = download(
                Wanted(**wanted, use_ray=use_ray),
                History(tmp_path / name),
                settings,
                now_ns=start_ns(date(2024, 6, 1)) + SECOND_NS,
            )
            assert server.most_at_once <= (3 if use_ray else 1)
            server.faults[broken] = ["503", "cut"]
        told = {name: report.as_dict() for name, report in reports.items()}
        assert told["parallel"]["whole"] == told["serial"]["whole"] == 2 * DAYS - 1
        assert told["parallel"]["damaged"] == 1
        assert [o.file for o in reports["parallel"].outcomes] == [
            o.file for o in reports["serial"].outcomes
        ]
        assert contents(tmp_path / "parallel") == contents(tmp_path / "serial")
        asked = server.zips_asked()
        again = download(
            Wanted(**wanted),
            History(tmp_path / "parallel"),
            settings,
            now_ns=start_ns(date(2024, 6, 1)) + SECOND_NS,
        )
        assert again.planned == 1  # the damaged one, and nothing else
        assert server.zips_asked() - asked <= 2
