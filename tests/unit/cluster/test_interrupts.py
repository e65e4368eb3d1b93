"""Signals that come at a bad moment."""

from __future__ import annotations

import signal
import threading

import pytest

from cluster.interrupts import uninterrupted


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_inside_the_block_is_collected_and_said(kind: signal.Signals) -> None:
    before, said = signal.getsignal(kind), list[str]()
    with uninterrupted(said.append, "a moment") as heard:
        signal.raise_signal(kind)
        signal.raise_signal(kind)
    assert heard == [kind, kind] and said == ["a moment", "a moment"]
    assert signal.getsignal(kind) is before


def test_behind_the_block_ctrl_c_is_what_it_was() -> None:
    with pytest.raises(ZeroDivisionError), uninterrupted(lambda _: None, ""):
        1 / 0  # noqa: B018
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_thread_leaves_the_handlers_alone() -> None:
    found = []

    def work() -> None:
        with uninterrupted(lambda _: None, "") as heard:
            found.append((heard, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [([], before)]
