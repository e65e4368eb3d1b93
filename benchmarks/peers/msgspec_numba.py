"""The best mix of libraries: msgspec decodes into structs, numba keeps integer-tick ladders."""

import json

import msgspec
import numba
import numpy as np
from harness import serve

REACH = 1 << 15  # ticks a side


class Data(msgspec.Struct):
    e: str
    s: str
    u: int = 0
    pu: int = 0
    b: list[tuple[str, str]] = []
    a: list[tuple[str, str]] = []
    p: str = ""
    q: str = ""


class Frame(msgspec.Struct):
    data: Data


@numba.njit(cache=False)
def apply(book, best, base, s, side, prices, sizes):
    """Float levels into the ladder; the best price follows."""
    for k in range(len(prices)):
        tick = int(np.round(prices[k] * 100.0)) - base[s] + REACH
        book[s, side, tick] = sizes[k]
        if side == 0:
            if sizes[k] > 0.0 and tick > best[s, 0]:
                best[s, 0] = tick
            while book[s, 0, best[s, 0]] == 0.0:
                best[s, 0] -= 1
        else:
            if sizes[k] > 0.0 and tick < best[s, 1]:
                best[s, 1] = tick
            while book[s, 1, best[s, 1]] == 0.0:
                best[s, 1] += 1


def prepare(symbols, snapshots):
    """Ladders that hold the snapshots."""
    n = len(symbols)
    index = {symbol: s for s, symbol in enumerate(symbols)}
    book = np.zeros((n, 2, 2 * REACH))
    best = np.zeros((n, 2), np.int64)
    base = np.zeros(n, np.int64)
    last = [0] * n
    for s, symbol in enumerate(symbols):
        body = json.loads(snapshots[symbol])
        bids, asks = (np.array(body[side], np.float64) for side in ("bids", "asks"))
        base[s] = round(bids[0, 0] * 100)
        best[s] = (0, 2 * REACH - 1)
        best[s, 0] = np.round(bids[0, 0] * 100) - base[s] + REACH
        best[s, 1] = np.round(asks[0, 0] * 100) - base[s] + REACH
        for side, levels in enumerate((bids, asks)):
            ticks = np.round(levels[:, 0] * 100).astype(np.int64) - base[s] + REACH
            book[s, side, ticks] = levels[:, 1]
        last[s] = body["lastUpdateId"]
    decoder = msgspec.json.Decoder(Frame)
    trades = {}

    def work(frames):
        decode = decoder.decode
        for frame in frames:
            data = decode(frame).data
            s = index[data.s]
            if data.e != "depthUpdate":
                trades[s] = (float(data.p), float(data.q))
                continue
            if data.pu != last[s]:
                raise ValueError("a gap")
            last[s] = data.u
            for side, levels in ((0, data.b), (1, data.a)):
                flat = np.array([float(x) for level in levels for x in level]).reshape(-1, 2)
                apply(book, best, base, s, side, flat[:, 0], flat[:, 1])

    def touch():
        return {s: (best[index[s]] + base[index[s]] - REACH) / 100.0 for s in symbols}

    return work, touch


if __name__ == "__main__":
    serve(prepare)
