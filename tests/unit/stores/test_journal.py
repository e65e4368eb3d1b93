"""A journal gives back what a session was handed, byte for byte, and shows what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.errors import RecordingError
from foreshock.market.instruments import Instrument
from foreshock.stores.journal import BODY, FRAME, Part, entries_of, to_table
from foreshock.stores.recordings import RecordingWriter, open_recording

INSTRUMENTS = [Instrument.of("AUSDT", "binance-spot", "0.01", "0.1")]
INPUTS = st.lists(
    st.tuples(
        st.integers(0, 2**63 - 1),
        st.binary(max_size=300),
        st.sampled_from(["", "timer", "receive_snapshot"]),
    ),
    min_size=1,
    max_size=40,
)


def part_of(inputs: list[tuple[int, bytes, str]], first: int = 0) -> Part:
    calls = {}
    bodies = []
    for k, (_, body, call) in enumerate(inputs):
        has_body = call != "timer"
        bodies.append(body if has_body else b"")
        if call:
            calls[k] = (call, f'["{BODY}",7]' if has_body else "[7]", has_body)
    return Part(
        first,
        np.array([at_ns for at_ns, _, _ in inputs], np.int64),
        np.frombuffer(b"".join(bodies), np.uint8),
        np.cumsum([len(body) for body in bodies]),
        calls,
    )


@settings(max_examples=60, deadline=None)
@given(INPUTS, st.integers(0, 2**40))
def test_entries_come_back_from_their_table_byte_for_byte(
    inputs: list[tuple[int, bytes, str]], first: int
) -> None:
    found = list(entries_of(to_table(part_of(inputs, first))))
    assert [entry.position for entry in found] == list(range(first, first + len(inputs)))
    for entry, (at_ns, body, call) in zip(found, inputs, strict=True):
        assert (entry.arrival_ns, entry.call, entry.intact) == (at_ns, call or FRAME, True)
        assert entry.body == (None if call == "timer" else body)
        assert (entry.args is None) == (call == "")


@pytest.mark.parametrize("field", ["arrival_ns", "body", "args"])
def test_an_entry_that_was_altered_is_not_intact(field: str) -> None:
    entry = next(entries_of(to_table(part_of([(5, b"abc", "receive_snapshot")]))))
    changed = {"arrival_ns": 6, "body": b"abd", "args": "[8]"}[field]
    assert entry.intact and not entry._replace(**{field: changed}).intact


def test_parts_come_once_in_order_and_a_hole_shows(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path, INSTRUMENTS, {})
    frames = [(k, b"%d" % k, "") for k in range(10)]
    for lo, hi in ((0, 4), (0, 4), (6, 10)):
        writer.write_journal(part_of(frames[lo:hi], lo))
    recording = open_recording(tmp_path)
    assert recording.has_journal and not recording.closed
    assert [e.position for e in recording.journal()] == [0, 1, 2, 3, 6, 7, 8, 9]
    writer.close()
    assert recording.closed


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path, INSTRUMENTS, {})
    writer.write_journal(part_of([(1, b"{}", "")]))
    path = next((tmp_path / "journal").iterdir())
    path.write_bytes(b"PAR1 nothing of ours PAR1")
    with pytest.raises(RecordingError, match=path.name):
        list(open_recording(tmp_path).journal())


def test_a_recorder_that_is_killed_in_mid_write_leaves_whole_parts_and_no_end(
    tmp_path: Path,
) -> None:
    """It writes part after part without a pause and is killed at an arbitrary moment."""
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from pathlib import Path
        from foreshock.market.instruments import Instrument
        from foreshock.stores.journal import Part
        from foreshock.stores.recordings import RecordingWriter
        spot = [Instrument.of("AUSDT", "binance-spot", "0.01", "0.1")]
        writer = RecordingWriter(Path(sys.argv[1]), spot, {})
        body = np.frombuffer(np.random.default_rng(1).bytes(400_000), np.uint8)
        first = 0
        while True:
            part = Part(first, np.arange(first, first + 1000), body, np.arange(1, 1001) * 400)
            writer.write_journal(part)
            first += 1000
            if first == 8000:
                print("some are written", flush=True)
        """
    )
    done = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert done.stdout is not None and done.stdout.readline()
    os.kill(done.pid, signal.SIGKILL)
    done.wait()
    done.stdout.close()
    recording = open_recording(tmp_path)
    entries = list(recording.journal())
    assert len(entries) >= 8000 and len(entries) % 1000 == 0
    assert [e.position for e in entries] == list(range(len(entries)))
    assert all(e.intact for e in entries) and not recording.closed
