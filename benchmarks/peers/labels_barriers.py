"""Triple-barrier labels by a package of the field, in an environment of its own.

    python labels_barriers.py PACKAGE CASE.npz OUT.npy

CASE holds `price` (m,), `begin` (n,) of the rows to label (rising, none of them the first),
`horizon` in rows and `far` as a ratio.
Says {"labels": so many, "cpu_s": seconds} for each "round" it reads, and leaves in OUT its labels
of `begin`: 1 the upper level first, -1 the lower, 0 neither. One thread. Packages that label every
row of a path get the path up to the last window asked of; what they spend on rows that nobody
asked of counts as labels too.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np


def by_vectorbt(case):
    from vectorbt.labels.nb import breakout_labels_nb

    path = case["price"].reshape(-1, 1)
    window, far = int(case["horizon"]) - 1, float(case["far"])

    def work():
        return breakout_labels_nb(path, window, far, far)[:, 0]

    return work, len(path), lambda found: found[case["begin"]]


def _frame(case):
    import pandas as pd

    times = pd.date_range("2025-01-01", periods=len(case["price"]), freq="s", unit="ns")
    return pd.Series(case["price"], index=times)


def by_quantreo(case):
    import pandas as pd
    from quantreo.target_engineering.directional.barriers import triple_barrier_labeling

    close = _frame(case)
    bars = pd.DataFrame({"open": close, "high": close, "low": close})
    bars["high_time"] = bars["low_time"] = close.index
    hours, far = (int(case["horizon"]) - 1) / 3600.0, float(case["far"])

    def work():
        return triple_barrier_labeling(bars, hours, tp=far, sl=-far)

    # It moves its answers up by a row: the label of a row stands before it.
    return work, len(bars), lambda found: found.to_numpy()[case["begin"] - 1]


def _spans(case):
    """The closing prices, the times asked of and the times of their vertical barriers."""
    import pandas as pd

    close = _frame(case)
    asked = close.index[case["begin"]]
    return close, asked, pd.Series(close.index[case["begin"] + int(case["horizon"]) - 1], asked)


def by_mlfinpy(case):
    import pandas as pd
    from mlfinpy.labeling.labeling import get_events

    close, asked, deadline = _spans(case)
    target = pd.Series(float(case["far"]), asked)

    def work():
        return get_events(close, asked, [1, 1], target, 0.0, 1, deadline, verbose=False)["t1"]

    return work, len(asked), lambda found: _by_return(case, close, asked, found)


def by_risklabai(case):
    import pandas as pd
    from RiskLabAI.data.labeling.labeling import triple_barrier

    close, asked, deadline = _spans(case)
    width = np.log1p(float(case["far"]))  # its returns are logarithms
    events = pd.DataFrame({"End Time": deadline, "Base Width": width, "Side": 1.0})

    def work():
        return triple_barrier(close, events, [1, 1], asked)["End Time"]

    return work, len(asked), lambda found: _by_return(case, close, asked, found)


def _by_return(case, close, asked, end):
    """The label from the time of the first touch."""
    moved = close.loc[end].to_numpy() / close.loc[asked].to_numpy() - 1.0
    return np.where(np.abs(moved) >= 0.9 * float(case["far"]), np.sign(moved), 0.0)


PACKAGES = {
    "vectorbt": by_vectorbt,
    "quantreo": by_quantreo,
    "mlfinpy": by_mlfinpy,
    "RiskLabAI": by_risklabai,
}


def main():
    """Answers on stdout; whatever a package prints goes elsewhere."""
    name, case_file, out_file = sys.argv[1:]
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    work, labels, read = PACKAGES[name](dict(np.load(case_file)))
    np.save(out_file, np.asarray(read(work()), dtype=np.float64))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "round":
            began = time.process_time()
            work()
            taken = time.process_time() - began
            print(json.dumps({"labels": labels, "cpu_s": taken}), file=answers, flush=True)


if __name__ == "__main__":
    main()
