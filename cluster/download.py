"""`foreshock download`: the venue's past, from its public archive and, for the tail, over REST."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer


def download(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Pairs, BTCUSDT or BTC/USDT; default venue.symbols.")
    ] = None,
    market: Annotated[
        str | None, typer.Option("--market", help="binance-spot or binance-usdm (venue.market).")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="klines, aggTrades, trades, bookDepth, metrics, fundingRate, premiumIndexKlines, "
            "markPriceKlines or indexPriceKlines; may be given often. Default: klines.",
        ),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day, UTC; default: the last.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Last day, UTC; default: yesterday.")
    ] = None,
    interval: Annotated[str, typer.Option("--interval", help="Of klines.")] = "1m",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: history below var_dir.")
    ] = None,
    no_tail: Annotated[
        bool, typer.Option("--no-tail", help="Ask the archive only, never REST.")
    ] = False,
    no_ray: Annotated[
        bool, typer.Option("--no-ray", help="One file after the other, in this process.")
    ] = False,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Download history: resumable, verified, judged; what is at hand already is not asked for."""

    def work() -> Answer:
        from foreshock.stores.history import History
        from pipelines.download_history import download as run
        from pipelines.download_history import wanted_of

        tree = read_config(mode, config, given).tree
        if tree.ray.address is not None:
            os.environ["RAY_ADDRESS"] = tree.ray.address
        flags = Namespace(
            market=market,
            kind=kind,
            symbols=symbols,
            to=last,
            interval=interval,
            no_tail=no_tail,
            no_ray=no_ray,
            **{"from": first},
        )
        report = run(
            wanted_of(flags, tree),
            History(tree.paths.under("history") if out is None else out.absolute()),
            tree.history,
            now_ns=time.time_ns(),
            rest_url=tree.venue.rest_url,
            show=True,
        )
        document = report.as_dict()

        def show(console: Console) -> None:
            console.print(
                f"{document['whole']} files and {document['tail_days']} days over REST, "
                f"{document['rows']} rows, {document['at_hand_days']} days were at hand: "
                f"{document['directory']}",
                soft_wrap=True,
            )
            if document["not_whole"]:
                table = Table("file", "state", "reason", box=None)
                for entry in document["not_whole"]:
                    table.add_row(entry["file"], entry["state"], entry["message"])
                console.print(table)

        return Answer(document, show, passed=report.passed)

    answer(work, json)
