"""The serving form of networks: ONNX, run by onnxruntime, which starts in a fraction of TensorFlow's time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.exceptions import ArtifactCorruptedError


class OnnxForecaster:
    """Implements `anomaly.ports.Forecaster`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._features = int(session.get_inputs()[0].shape[-1])

    @property
    def features(self) -> int:
        """See `Forecaster.features`."""
        return self._features

    def predict(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(V, B, L, F) scaled windows to (V, B) scaled predictions. V is the file's."""
        windows = windows[..., : self._features]
        (predictions,) = self._session.run(None, {self._input: np.ascontiguousarray(windows, np.float32)})
        return np.asarray(predictions, np.float32)


def load_forecaster(serving: bytes) -> OnnxForecaster:
    """A forecaster from the bytes of an ONNX file.

    Raises:
        ArtifactCorruptedError: onnxruntime cannot read them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a pool of threads costs more to start and to spin than it saves here
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Rewriting the graph takes longer than running it once: a serving process predicts a few intervals and ends.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(serving, options, providers=["CPUExecutionProvider"])
    except Exception as bad:  # onnxruntime raises bare classes of its C++ side
        raise ArtifactCorruptedError(
            f"the serving form ({len(serving)} bytes) is no network that onnxruntime {onnxruntime.__version__} can "
            f"read: {bad}; fit the group again, or restore the file"
        ) from bad
    return OnnxForecaster(session)
