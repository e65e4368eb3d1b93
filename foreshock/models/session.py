"""Running a graph. Apart from building one, so that those who only score import no trainer."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from foreshock.errors import ModelError


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A session on one thread that does not spin: with two threads the bits of a score depend on
    the batch. Raises ModelError on bytes that are no usable graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"the graph cannot be loaded: {error}") from error


def run_graph(
    session: onnxruntime.InferenceSession, X: NDArray[np.float32], output: str
) -> NDArray[np.float32]:
    """One output for vectors (n, k), n ≥ 0. Raises ModelError on another shape or type."""
    return run_outputs(session, X, [output])[0]


def run_outputs(
    session: onnxruntime.InferenceSession, X: NDArray[np.float32], outputs: list[str]
) -> list[NDArray[np.float32]]:
    """Several outputs at the price of one. Raises as `run_graph` does."""
    width = session.get_inputs()[0].shape[1]
    if X.ndim != 2 or X.shape[1] != width or X.dtype != np.float32:
        raise ModelError(f"vectors are {X.dtype} {X.shape}, expected float32 (n, {width})")
    out: list[NDArray[np.float32]] = session.run(outputs, {"features": np.ascontiguousarray(X)})
    return out
