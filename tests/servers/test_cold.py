"""The contract of the cold store: one suite, on files and on a real ClickHouse server."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading

import clickhouse_driver
import numpy as np
import pyarrow as pa
import pytest

from foreshock.errors import ConfigError, StoreError
from foreshock.stores.cold import StoreDownError, open_cold
from foreshock.stores.cold_clickhouse import ClickHouseCold
from foreshock.stores.cold_parquet import ParquetCold
from foreshock.stores.schema import DAY_NS, TABLES, Batch, day_start_ns
from scripts.clickhouse_server import ClickHouseServer, binary

DAY = "2023-11-15"
START_NS = day_start_ns(DAY)
SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")
REAL = os.environ.get("FORESHOCK_TEST_CLICKHOUSE_URL")


def own_server(home) -> ClickHouseServer:
    """A server that the test may kill; the test is skipped where none is installed."""
    if binary() is None:
        pytest.skip("clickhouse-server is not installed: apt-get install clickhouse-server")
    return ClickHouseServer(home)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory):
    """Address of a real server: the one given, else one of our own."""
    if REAL:
        yield REAL
        return
    with own_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server.url


@pytest.fixture(params=["parquet", pytest.param("clickhouse", marks=pytest.mark.servers)])
def cold(request, tmp_path):
    if request.param == "parquet":
        yield ParquetCold(tmp_path / "it's cold")
        return
    url = request.getfixturevalue("clickhouse")
    name = f"test_{secrets.token_hex(4)}"
    with clickhouse_driver.Client.from_url(url) as client:
        client.execute(f"CREATE DATABASE {name}")
        store = ClickHouseCold(url.rpartition("/")[0] + f"/{name}")
        yield store
        store.close()
        client.execute(f"DROP DATABASE {name}")


def some(
    table: str,
    first: int,
    count: int,
    *,
    shard: str = "s/w-0",
    start_ns: int = START_NS,
    step_ns=10**9,
) -> tuple[pa.Table, Batch]:
    """Rows of `table` with seqs first … first + count - 1, each column of its own values."""
    seq = np.arange(first, first + count)
    columns = {}
    for i, (name, kind) in enumerate(TABLES[table].columns.items()):
        if name == "symbol":
            columns[name] = pa.array([SYMBOLS[k % 3] for k in seq])
        elif name == "shard":
            columns[name] = pa.array([shard] * count)
        elif name == "seq":
            columns[name] = seq
        elif name == TABLES[table].time:
            columns[name] = start_ns + seq * step_ns
        elif pa.types.is_list(kind):
            columns[name] = pa.array(
                [list(range(k % 4)) + [-(2**60), 0][: k % 3] for k in seq], kind
            )
        elif pa.types.is_floating(kind):
            columns[name] = pa.array(np.where(seq % 5 == i % 5, np.nan, seq / 7 + i)).cast(kind)
        elif kind == pa.string():
            columns[name] = pa.array([f"{name}' {k % 2}\\" for k in seq])
        else:
            most = {pa.int64(): 2**62, pa.int32(): 2**31, pa.uint8(): 256, pa.int8(): 128}[kind]
            columns[name] = pa.array((seq * (7919 + i) * 10**12) % most).cast(kind)
    return pa.table(columns), Batch(shard, first, first + count - 1)


def plain(found: pa.Table) -> list[tuple]:
    """Rows as tuples that compare: NaN as a word, so that it equals itself."""

    def value(x):
        return "nan" if isinstance(x, float) and x != x else tuple(x) if isinstance(x, list) else x

    return [tuple(map(value, row.values())) for row in found.to_pylist()]


def in_order(table: str, *parts: pa.Table) -> list[tuple]:
    """What a scan must give: all rows once, by day and key."""
    whole = pa.concat_tables(parts)
    spec = TABLES[table]
    rows = whole.to_pylist()
    rows.sort(key=lambda r: (r[spec.time] // DAY_NS, *(r[k] for k in spec.key)))
    return plain(pa.Table.from_pylist(rows, whole.schema))


def count(cold, table: str) -> int:
    return cold.scan(table, columns=["seq"]).num_rows


@pytest.mark.parametrize("table", TABLES)
def test_what_goes_in_comes_out_in_order_with_every_bit(cold, table):
    first, second = some(table, 0, 50), some(table, 50, 50)
    assert cold.append(table, *second) == 50
    assert cold.append(table, *first) == 50
    found = cold.scan(table)
    assert found.column_names == list(TABLES[table].columns)
    assert plain(found) == in_order(table, first[0], second[0])
    text = pa.dictionary(pa.int32(), pa.string())
    for name, kind in TABLES[table].columns.items():
        assert found.schema.field(name).type == (text if kind == pa.string() else kind)


def test_a_table_that_nobody_wrote_to_is_empty_and_has_its_columns(cold):
    found = cold.scan("trades")
    assert len(found) == 0
    assert found.column_names == list(TABLES["trades"].columns)
    assert cold.usage() == []
    assert not cold.compact("trades", DAY)
    cold.drop("trades", DAY)
    assert cold.query("SELECT count(*) AS n FROM trades")["n"].to_pylist() == [0]


def test_a_batch_that_is_tried_again_adds_nothing(cold):
    data, batch = some("trades", 0, 60)
    for _ in range(3):
        cold.append("trades", data, batch)
    assert plain(cold.scan("trades")) == in_order("trades", data)


def test_a_retry_that_is_cut_otherwise_adds_only_what_is_new(cold):
    whole, _ = some("trades", 0, 100)
    for first, last in ((0, 59), (20, 79), (0, 29), (30, 99), (40, 50), (0, 99), (99, 99)):
        part = whole.slice(first, last - first + 1)
        cold.append("trades", part, Batch("s/w-0", first, last))
    assert plain(cold.scan("trades")) == in_order("trades", whole)


def test_a_retry_after_compaction_adds_nothing_and_later_rows_are_added(cold):
    parts = [some("trades", first, 30) for first in (0, 30, 60)]
    for part in parts:
        cold.append("trades", *part)
    before = plain(cold.scan("trades"))
    assert cold.compact("trades", DAY)
    assert not cold.compact("trades", DAY)
    assert [use.parts for use in cold.usage("trades")] == [1]
    for part in parts[1:]:
        cold.append("trades", *part)
    assert plain(cold.scan("trades")) == before
    late = some("trades", 80, 40)
    cold.append("trades", *late)
    whole, _ = some("trades", 0, 120)
    for _ in range(2):
        assert plain(cold.scan("trades")) == in_order("trades", whole)
        assert cold.compact("trades", DAY) or cold.usage("trades")[0].compacted
    use = cold.usage("trades")[0]
    assert (use.rows, use.parts, use.compacted, use.day) == (120, 1, True, DAY)
    assert use.bytes > 0


def test_shards_do_not_mistake_each_other_for_retries(cold):
    one, other = some("trades", 0, 20, shard="s/w-0"), some("trades", 0, 20, shard="s/w-1")
    cold.append("trades", *one)
    cold.append("trades", *other)
    assert plain(cold.scan("trades")) == in_order("trades", one[0], other[0])
    cold.compact("trades", DAY)
    cold.append("trades", *other)
    assert plain(cold.scan("trades")) == in_order("trades", one[0], other[0])


def test_a_batch_over_midnight_lies_in_two_days_and_dropping_one_leaves_the_other(cold):
    data, batch = some("trades", 0, 20, start_ns=START_NS + DAY_NS - 10 * 10**9)
    cold.append("trades", data, batch)
    assert [(use.day, use.rows) for use in cold.usage()] == [(DAY, 10), ("2023-11-16", 10)]
    cold.drop("trades", DAY)
    cold.drop("trades", DAY)
    assert plain(cold.scan("trades")) == in_order("trades", data.slice(10))
    cold.append("trades", data, batch)
    assert plain(cold.scan("trades")) == in_order("trades", data)


def test_a_day_that_came_again_is_read_as_it_is_now(cold):
    for first in (0, 100):
        for part in (0, 10):
            cold.append("trades", *some("trades", first + part, 10))
        cold.compact("trades", DAY)
        seqs = sorted(cold.scan("trades", columns=["seq"])["seq"].to_pylist())
        assert seqs == list(range(first, first + 20))
        cold.append("trades", *some("trades", first, 10))
        assert count(cold, "trades") == 20
        cold.drop("trades", DAY)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_scan_takes_symbols_times_and_columns(cold, compacted):
    data, batch = some("trades", 0, 90, step_ns=DAY_NS // 40)
    cold.append("trades", data, batch)
    if compacted:
        for use in cold.usage("trades"):
            cold.compact("trades", use.day)
    stamps = data["arrival_ns"].to_pylist()
    got = cold.scan(
        "trades",
        symbols=["AUSDT", "CUSDT", "nobody's"],
        since_ns=stamps[10],
        until_ns=stamps[70],
        columns=["price_ticks", "symbol", "arrival_ns"],
    )
    assert got.column_names == ["price_ticks", "symbol", "arrival_ns"]
    kept = [row for row in data.to_pylist()[10:70] if row["symbol"] != "BUSDT"]
    kept.sort(key=lambda r: (r["arrival_ns"] // DAY_NS, r["symbol"], r["arrival_ns"]))
    assert plain(got) == [(r["price_ticks"], r["symbol"], r["arrival_ns"]) for r in kept]
    assert len(cold.scan("trades", symbols=[])) == 0


@pytest.mark.parametrize("compacted", [False, True])
def test_features_that_came_later_are_nan_before(cold, compacted):
    for first, name in ((0, "feature_flow"), (10, "feature_spread")):
        data, batch = some("vectors", first, 10)
        data = data.append_column(name, pa.array(np.arange(10) / 3, pa.float32()))
        cold.append("vectors", data, batch)
    if compacted:
        cold.compact("vectors", DAY)
    got = cold.scan("vectors", columns=["seq", "feature_flow", "feature_spread"])
    rows = sorted(plain(got))
    flow = [float(x) for x in (np.arange(10) / 3).astype(np.float32)]
    assert rows == [
        *((k, flow[k], "nan") for k in range(10)),
        *((10 + k, "nan", flow[k]) for k in range(10)),
    ]
    never = cold.scan("vectors", columns=["feature_never"])
    assert set(plain(never)) == {("nan",)}


def test_sql_counts_each_row_once(cold):
    data, batch = some("trades", 0, 40)
    cold.append("trades", data, batch)
    cold.append("trades", data.slice(0, 20), Batch(batch.shard, 0, 19))
    final = "FINAL" if isinstance(cold, ClickHouseCold) else ""
    sql = f"SELECT symbol, count(*) AS n, sum(size_lots) AS s FROM trades {final} GROUP BY symbol"
    got = cold.query(f"{sql} ORDER BY symbol")
    assert got["n"].to_pylist() == [14, 13, 13]
    assert sum(got["s"].to_pylist()) == sum(data["size_lots"].to_pylist())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop_columns(["price"]), "price"),
        (lambda t: t.append_column("prize", t["price"]), "prize"),
        (lambda t: t.set_column(3, "ts", pa.array([None] * len(t), pa.int64())), "null"),
        (lambda t: t.set_column(3, "ts", pa.array(["x"] * len(t))), "ts"),
        (lambda t: t.set_column(2, "seq", pa.array([99] * len(t))), "99"),
        (lambda t: t.set_column(1, "shard", pa.array(["else"] * len(t))), "else"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_the_reason(cold, change, says):
    data, batch = some("trades", 0, 5)
    with pytest.raises(StoreError, match=says):
        cold.append("trades", change(data), batch)
    assert count(cold, "trades") == 0


def test_wrong_names_are_refused(cold):
    with pytest.raises(StoreError, match="trads"):
        cold.scan("trads")
    with pytest.raises(StoreError, match="feature_flow"):
        cold.scan("trades", columns=["seq", "feature_flow"])
    with pytest.raises(StoreError):
        cold.query("SELEKT")
    with pytest.raises(StoreError):
        cold.drop("trades", "2023-99-99; DROP")
    data, _ = some("trades", 0, 5)
    with pytest.raises(StoreError):
        Batch("", 0, 4)
    assert cold.append("trades", data.slice(0, 0), Batch("s/w-0", 0, 4)) == 0
    cold.ping()


def test_after_an_error_the_store_goes_on(cold):
    for _ in range(3):
        with pytest.raises(StoreError):
            cold.query("SELECT nothing FROM trades")
        data, batch = some("trades", 0, 5)
        cold.append("trades", data, batch)
    assert count(cold, "trades") == 5


def test_several_threads_may_write_shards_through_one_store(cold):
    def write(k: int) -> None:
        for first in range(0, 100, 20):
            cold.append("trades", *some("trades", first, 20, shard=f"s/{k}"))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert count(cold, "trades") == 400


_READER = """
import sys
from pathlib import Path
from foreshock.stores.cold_parquet import ParquetCold
cold, want = ParquetCold(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
looks = 0
while sys.stdin.readline().strip() == "look":
    scanned = cold.scan("trades", columns=["seq"], until_ns=int(sys.argv[3]))["seq"].to_pylist()
    counted = cold.query(f"SELECT count(*) AS n, count(DISTINCT seq) AS d FROM trades "
                         f"WHERE arrival_ns < {sys.argv[3]}").to_pylist()[0]
    assert sorted(scanned) == list(range(want)), (len(scanned), want)
    assert counted == {"n": want, "d": want}, counted
    looks += 1
    print("ok", flush=True)
print(looks, flush=True)
"""


def test_a_reader_in_another_process_sees_each_row_once_while_days_are_compacted_and_dropped(
    tmp_path,
):
    cold = ParquetCold(tmp_path / "cold")
    batches = [some("trades", first, 25) for first in range(0, 500, 25)]
    for each in batches:
        cold.append("trades", *each)
    later_ns = START_NS + 10 * DAY_NS
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, str(cold.directory), "500", str(START_NS + DAY_NS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for k in range(25):
            reader.stdin.write("look\n")
            reader.stdin.flush()
            cold.append("trades", *batches[k % len(batches)])  # written again after compaction
            cold.append("trades", *some("trades", 0, 5, shard=f"late-{k}", start_ns=later_ns))
            cold.compact("trades", DAY)
            cold.drop("trades", "2023-11-25")
            assert reader.stdout.readline() == "ok\n"
        reader.stdin.write("enough\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "25\n"
    assert reader.returncode == 0


def test_files_that_are_not_finished_are_not_seen(tmp_path):
    cold = ParquetCold(tmp_path)
    cold.append("trades", *some("trades", 0, 5))
    whole = next(tmp_path.rglob("*.parquet"))
    whole.with_name(f".unfinished-1-{whole.name}").write_bytes(b"half")
    assert count(cold, "trades") == 5
    assert cold.query("SELECT count(*) AS n FROM trades")["n"].to_pylist() == [5]


def test_a_compaction_that_was_cut_off_before_it_removed_anything_counts_nothing_twice(
    tmp_path, monkeypatch
):
    cold = ParquetCold(tmp_path)
    for first in range(0, 50, 10):
        cold.append("trades", *some("trades", first, 10))
    kept = {path: path.read_bytes() for path in tmp_path.rglob("s%2F*~*.parquet")}
    assert cold.compact("trades", DAY)
    for path, body in kept.items():
        path.write_bytes(body)
    other = ParquetCold(tmp_path)
    assert count(other, "trades") == 50
    assert other.query("SELECT count(*) AS n FROM trades")["n"].to_pylist() == [50]
    assert not other.usage("trades")[0].compacted
    assert other.compact("trades", DAY)
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    assert count(other, "trades") == 50


def test_a_question_reaches_no_file_outside_the_store(tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    cold = ParquetCold(tmp_path / "cold")
    cold.append("trades", *some("trades", 0, 5))
    with pytest.raises(StoreError, match="disabled"):
        cold.query(f"SELECT * FROM read_csv('{tmp_path}/secret.csv')")


@pytest.mark.servers
def test_a_server_that_is_killed_in_mid_write_keeps_every_batch_once_after_a_retry(tmp_path):
    with own_server(tmp_path / "server") as server:
        cold = ClickHouseCold(server.url)
        batches = [
            some("trades", first, 40_000, step_ns=10**6) for first in range(0, 400_000, 40_000)
        ]
        acknowledged = []
        started = threading.Event()

        def kill() -> None:
            started.wait()
            server.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        for k, each in enumerate(batches):
            if k == 4:
                started.set()  # it dies while the fifth, or one soon after, is on its way
            try:
                cold.append("trades", *each)
                acknowledged.append(k)
            except StoreDownError:
                break
        killer.join()
        assert len(acknowledged) >= 4
        with pytest.raises(StoreDownError, match="does not answer"):
            cold.ping()
        server.start()
        held = set(cold.scan("trades", columns=["seq"])["seq"].to_pylist())
        for k in acknowledged:
            assert held.issuperset(range(k * 40_000, (k + 1) * 40_000)), k
        for each in batches:
            cold.append("trades", *each)
        seqs = cold.scan("trades", columns=["seq"])["seq"].to_numpy()
        assert np.array_equal(np.sort(seqs), np.arange(400_000))
        cold.close()


def test_a_store_is_opened_by_its_address(tmp_path):
    assert open_cold("off", tmp_path) is None
    assert isinstance(open_cold("parquet", tmp_path), ParquetCold)
    assert isinstance(open_cold("clickhouse://u:p@127.0.0.1:1/db", tmp_path), ClickHouseCold)
    for wrong in ("sqlite", "postgresql://u:secret@x/db", "clickhouse://", "clickhouse://h/a;b"):
        with pytest.raises(ConfigError) as caught:
            open_cold(wrong, tmp_path)
        assert "secret" not in str(caught.value)
    nowhere = open_cold("clickhouse://u:secret@127.0.0.1:1/db", tmp_path)
    with pytest.raises(StoreDownError) as down:
        nowhere.ping()
    assert "secret" not in str(down.value)
