"""A group's networks as one MLflow model, in code: nothing is pickled.

`anomaly.adapters.mlflow_registry` gives this file's path to MLflow, which stores a copy beside the networks and
runs that copy to load the model. So it stands alone: it imports nothing of this package, and it works where
only MLflow, NumPy and ONNX Runtime are installed::

    model = mlflow.pyfunc.load_model("models:/anomaly.carriers@champion")
    predictions = model.predict({"dense-16-mae": windows})

In: per slot, scaled windows (V, B, L, F) float32: V the networks of that slot in their order, B windows each.
Out: per slot, scaled predictions (V, B) float32. Which variable sits where, and its scaler, is in the metadata
and in the run's table of variables.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

# Only MLflow runs this file, so nothing else pays for the import.
from mlflow.models import set_model  # noqa: TID253
from mlflow.pyfunc.model import PythonModel  # noqa: TID253


class GroupNetworks:
    """Every network of the group in serving form, one ONNX session per slot."""

    def load_context(self, context: Any) -> None:
        """Opens the networks whose files are what was registered.

        Raises:
            ValueError: a file's SHA-256 is another.
        """
        import onnxruntime

        self.sessions = {}
        for slot, network in (context.model_config or {}).get("networks", {}).items():
            path = context.artifacts[network["serving"]]
            serving = Path(path).read_bytes()
            found = hashlib.sha256(serving).hexdigest()
            if found != network["serving_sha256"]:
                raise ValueError(
                    f"{path} has SHA-256 {found}; this model was registered with {network['serving_sha256']}. "
                    "It was changed or damaged since and is not loaded: register the group's fit again"
                )
            self.sessions[slot] = onnxruntime.InferenceSession(serving, providers=["CPUExecutionProvider"])

    # Without type hints: MLflow reads them as a signature, which this model has already, and a better one.
    def predict(self, model_input):  # type: ignore[no-untyped-def]
        """Per slot, windows (V, B, L, F) to predictions (V, B), both scaled."""
        predictions = {}
        for slot, windows in model_input.items():
            session = self.sessions[slot]
            (source,) = session.get_inputs()
            (predictions[slot],) = session.run(None, {source.name: np.asarray(windows, dtype=np.float32)})
        return predictions


class GroupModel(GroupNetworks, PythonModel):  # type: ignore[misc]  # the context is optional in `predict`
    """The networks as MLflow wants them. A `predict` defined right here would be warned about for its missing hints."""


set_model(GroupModel())
