"""The baselines on recorded bars, which do not say who took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from foreshock.market.instruments import SPOT
from foreshock.models.families.order_flow import OrderFlowSettings
from foreshock.models.family import fit_one, importance_of
from pipelines.real_months import Month, month_dataset

pytestmark = pytest.mark.recordings

FILE = "klines/spot_1m_2026-03_5pairs.parquet"
DAYS, BARS = 3, 20
MINUTE_NS = 60_000_000_000


def test_order_flow_is_read_off_the_tick_rule_of_recorded_bars(
    recordings: Path, tmp_path: Path
) -> None:
    month = Month("March 2026, spot", "2026-03", FILE, SPOT, "2026-03-23", "", None)
    data = month_dataset(month, recordings, tmp_path, DAYS)
    names = data.feature_names
    takers = [names.index(name) for name in names if name.startswith("taker_buy_share")]
    assert takers and np.isnan(data.X[:, takers]).all()
    fitted = fit_one(OrderFlowSettings(), data.X, data.labels[:, 0], None, names)
    assert importance_of(fitted, names) == {"obv_change_20": pytest.approx(1.0)}

    table = pq.read_table(recordings / FILE, filters=[("symbol", "in", ["BTCUSDT", "BTC/USDT"])])
    opened = table.column("date").to_numpy().astype("datetime64[ns]").astype(np.int64)
    close, lots = (table.column(name).to_numpy() for name in ("close", "volume"))
    mine = np.flatnonzero(data.symbol == data.symbols.index("BTCUSDT"))[-50:]
    column = data.X[mine, names.index("obv_change_20")]
    for row, found in zip(mine, column, strict=True):
        last = int(np.searchsorted(opened, data.t0_ns[row] - MINUTE_NS, side="right"))
        said = slice(last - BARS, last)
        signed = np.sign(close[said] - close[last - BARS - 1 : last - 1]) * lots[said]
        assert found == pytest.approx(signed.sum() / lots[said].sum(), abs=2e-3)
    # More bought than sold scores higher, and nothing else does anything.
    assert (np.argsort(fitted.raw_score(data.X[mine]), kind="stable")
            == np.argsort(column, kind="stable")).all()  # fmt: skip
