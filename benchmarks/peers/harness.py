"""The loop of a peer that runs in an environment of its own; nothing but the standard library.

    python PEER.py FRAMES

FRAMES holds one JSON line {"symbols", "snapshots"} and then a frame a line. On stdin, `round` asks
for a round; on stdout comes a JSON line {"units", "cpu_s", "touch": {symbol: [bid, ask]}}: what the
peer thinks are the best prices at the end, so that nobody is fast by being wrong.
"""

import gc
import json
import sys
import time


def load(path):
    """(symbols, snapshots as bytes by symbol, frames as bytes)."""
    with open(path, "rb") as stream:
        head = json.loads(stream.readline())
        frames = [line.rstrip(b"\n") for line in stream]
    snapshots = {
        s: text.encode() for s, text in zip(head["symbols"], head["snapshots"], strict=True)
    }
    return head["symbols"], snapshots, frames


def serve(prepare):
    """`prepare(symbols, snapshots)` → (work, touch): `work(frames)` is measured, a fresh state each
    round; `touch()` → {symbol: (best bid, best ask)}."""
    symbols, snapshots, frames = load(sys.argv[1])
    answers = sys.stdout
    sys.stdout = sys.stderr
    print(json.dumps({"ready": True}), file=answers, flush=True)
    gc.disable()
    for line in sys.stdin:
        if line.strip() != "round":
            continue
        work, touch = prepare(symbols, snapshots)
        gc.collect()
        began = time.process_time()
        work(frames)
        taken = time.process_time() - began
        told = {s: [float(x) for x in prices] for s, prices in touch().items()}
        answer = {"units": len(frames), "cpu_s": taken, "touch": told}
        print(json.dumps(answer), file=answers, flush=True)
