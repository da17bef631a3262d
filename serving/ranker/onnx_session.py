"""ONNX Runtime's session over one graph, whose errors are RuntimeErrors: its own derive from Exception alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from onnxruntime.capi import onnxruntime_pybind11_state as state  # type: ignore[import-untyped]

Array = np.ndarray[Any, Any]

_ERRORS = (
    state.EngineError,
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.ModelLoadCanceled,
    state.ModelLoaded,
    state.ModelRequiresCompilation,
    state.NoModel,
    state.NoSuchFile,
    state.NotFound,
    state.NotImplemented,
    state.RuntimeException,
)


class OnnxSession:
    """One output; safe to run from several threads. Raises RuntimeError where ONNX Runtime refuses the graph."""

    def __init__(self, graph: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it refuses, its exception says
        with _plain_errors():
            self._session = onnxruntime.InferenceSession(
                str(graph), sess_options=options, providers=["CPUExecutionProvider"]
            )
        self.inputs = tuple(str(each.name) for each in self._session.get_inputs())

    def run(self, feed: Mapping[str, Array]) -> Array:
        with _plain_errors():
            (output,) = self._session.run(None, feed)
        found: Array = output
        return found


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise RuntimeError(str(error).strip() or type(error).__name__) from None
