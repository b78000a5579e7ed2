"""A group's ranking as an MLflow model, in code: nothing is pickled.

As with `anomaly.adapters.mlflow_model`, MLflow keeps a copy of this file beside the trees and runs that copy, so it
imports nothing of this package and needs MLflow, NumPy and pandas alone::

    model = mlflow.pyfunc.load_model("models:/anomaly.carriers.ranking@champion")
    ranks = model.predict(features)

In: a table of features, a row per incident, with the columns of the signature. Out: ranks in [0, 1], (N,).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

# Only MLflow runs this file, so nothing else pays for the import.
from mlflow.models import set_model  # noqa: TID253
from mlflow.pyfunc.model import PythonModel  # noqa: TID253


class BoostedTrees:
    """Reads the trees, and walks them."""

    def load_context(self, context: Any) -> None:
        """From the file that was registered."""
        self.trees = json.loads(Path(context.artifacts["ranking"]).read_text(encoding="utf-8"))["trees"]

    # Without type hints: MLflow reads them as a signature, which this model has already, and a better one.
    def predict(self, model_input):  # type: ignore[no-untyped-def]
        """Ranks of the rows."""
        tree = {name: np.array(values) for name, values in self.trees.items() if isinstance(values, list)}
        x = np.asarray(model_input[self.trees["features"]], dtype=np.float64)
        at = np.repeat(tree["roots"][None], len(x), axis=0)
        rows = np.arange(len(x))[:, None]
        while True:
            goes_left = x[rows, tree["feature"][at]] <= tree["threshold"][at]
            below = np.where(goes_left, tree["left"][at], tree["right"][at])
            if (below == at).all():
                return 1 / (1 + np.exp(-(self.trees["baseline"] + tree["value"][at].sum(axis=1))))
            at = below


class RankingModel(BoostedTrees, PythonModel):  # type: ignore[misc]  # the context is optional in `predict`
    """The trees as MLflow wants them. A `predict` defined right here would be warned about for its missing hints."""


set_model(RankingModel())
