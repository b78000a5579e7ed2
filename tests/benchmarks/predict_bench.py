"""10,000 variables from a cold process to predictions, against ``import tensorflow`` alone.

The measured process does what predict does with its champion: read the serving form through the artifact store,
which checks its SHA-256; load it; cut the windows of the next interval out of the counts; scale, predict, unscale.
The counts lie in a file as the store's COPY delivers them, an array (V, T): a database's speed is not what is
compared here.
"""

from __future__ import annotations

import hashlib
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np

from tests.benchmarks.measuring import Figure, hourly_counts, in_turns

DAYS = 8

PREDICTING = """
import sys
import numpy as np
from datetime import timedelta
from zoneinfo import ZoneInfo
from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.serving import load_forecaster
from anomaly.detection import transforms
from anomaly.detection.candidates import candidate
from anomaly.detection.scaling import Scaler
from anomaly.detection.windows import gather
from anomaly.groups.model import Transform

folder, uri, sha256 = sys.argv[1:]
network = load_forecaster(Artifacts(folder).read(uri, sha256=sha256))
z = transforms.forward(np.load(folder + "/counts.npy"), Transform.ANSCOMBE)
scaler = Scaler(np.load(folder + "/minimum.npy"), np.load(folder + "/maximum.npy"))
hour, at = timedelta(hours=1), np.array([z.shape[1]])
start = np.array(["2026-01-09T00:00:00"], "datetime64[s]")
lags = candidate("dense-16-mae").window(hour).lags(start, hour, ZoneInfo("America/New_York"))
predicted = transforms.inverse(scaler.unscale(network.predict(gather(scaler.scale(z), at, lags))), Transform.ANSCOMBE)
assert predicted.shape == (len(z), 1) and np.isfinite(predicted).all()
assert "tensorflow" not in sys.modules
"""


def predict_benchmark(variables: int = 10_000, rounds: int = 5) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        uri, sha256, size = _store(Path(folder), variables)
        seconds = in_turns(
            {
                "import tensorflow": ["import tensorflow"],
                "predict": [PREDICTING, folder, uri, sha256],
                "empty process": ["pass"],
            },
            rounds=rounds,
        )
    return [
        Figure(
            "predict: cold process to predictions, share of importing TensorFlow",
            seconds["predict"] / seconds["import tensorflow"],
            0.1,
            "at most",
            "x",
            {
                "variables": variables,
                "network_megabytes": round(size / 1e6, 1),
                "rounds": rounds,
                **{f"{name.replace(' ', '_')}_seconds": round(value, 3) for name, value in seconds.items()},
            },
        )
    ]


def _store(folder: Path, variables: int) -> tuple[str, str, int]:
    """A stored network with first weights, and counts: the URI, SHA-256 and size of the serving form."""
    from anomaly.adapters.artifacts import Artifacts
    from anomaly.detection import training, transforms
    from anomaly.detection.candidates import candidate
    from anomaly.detection.networks.layers import begin
    from anomaly.detection.scaling import Scaler
    from anomaly.groups.model import Transform

    seed_network = candidate("dense-16-mae")
    window = seed_network.window(timedelta(hours=1)).shape
    assert seed_network.network is not None
    weights = tuple(begin(seed_network.network(1, window), list(range(variables))))
    serving = training.serving_form(seed_network, window, weights)
    uri = (folder / "serving.onnx").as_uri()
    Artifacts(str(folder)).write(uri, serving)

    counts = hourly_counts(variables, DAYS).astype(np.float64)
    scaler = Scaler.fit(transforms.forward(counts, Transform.ANSCOMBE))
    for name, array in (("counts", counts), ("minimum", scaler.minimum), ("maximum", scaler.maximum)):
        np.save(folder / f"{name}.npy", array)
    return uri, hashlib.sha256(serving).hexdigest(), len(serving)


if __name__ == "__main__":
    for figure in predict_benchmark():
        print(figure.name, round(figure.value, 4), figure.unit, dict(figure.details))
