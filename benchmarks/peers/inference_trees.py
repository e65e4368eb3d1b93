"""A LightGBM model scored by a compiler of trees, in an environment of its own.

    python inference_trees.py PACKAGE MODEL.txt ROWS.npy OUT.npy

Leaves its raw scores of ROWS (n, k) float32 in OUT and its set-up time on stdout. Then for each
line it reads: "single" says {"p50_us"}: median wall time of a call with one row, a different row
each call; "batch" says {"rows", "cpu_s"} of one call with all rows. One thread.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from statistics import median

import numpy as np

SINGLE_CALLS = 4000


def by_lleaves(path):
    import lleaves

    model = lleaves.Model(model_file=path)
    model.compile(raw_score=True)
    return lambda X: model.predict(X, n_jobs=1)


def by_treelite(path):
    import treelite

    model = treelite.frontend.load_lightgbm_model(path)
    return lambda X: treelite.gtil.predict(model, X, nthread=1, pred_margin=True)


def by_tl2cgen(path):
    import tl2cgen
    import treelite

    model = treelite.frontend.load_lightgbm_model(path)
    folder = tempfile.mkdtemp()
    library = f"{folder}/model.so"
    tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={"parallel_comp": 16})
    predictor = tl2cgen.Predictor(library, nthread=1)
    return lambda X: predictor.predict(tl2cgen.DMatrix(X, dtype="float32"), pred_margin=True)


PACKAGES = {"lleaves": by_lleaves, "treelite": by_treelite, "tl2cgen": by_tl2cgen}


def main():
    """Answers on stdout; whatever a package prints goes elsewhere."""
    name, model_file, rows_file, out_file = sys.argv[1:]
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    X = np.load(rows_file)
    began = time.perf_counter()
    score = PACKAGES[name](model_file)
    took = time.perf_counter() - began
    np.save(out_file, np.asarray(score(X), np.float64).reshape(len(X)))
    print(json.dumps({"set_up_s": took}), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "single":
            spent = []
            for i in range(SINGLE_CALLS):
                row = X[i % len(X)][None]
                began = time.perf_counter_ns()
                score(row)
                spent.append(time.perf_counter_ns() - began)
            said = {"p50_us": median(spent) / 1e3}
        else:
            began = time.process_time()
            score(X)
            said = {"rows": len(X), "cpu_s": time.process_time() - began}
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
