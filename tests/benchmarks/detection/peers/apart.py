"""Runs one peer in the peers' own environment: ``python -m tests.benchmarks.detection.peers.apart MODULE:NAME IN OUT``.

Knows nothing but numpy and the peer, because that environment has no product in it.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np


def main(peer: str, taken: Path, given: Path) -> None:
    """Reads counts, starts, step (seconds), zone and train from an ``.npz``, and writes the scores to another."""
    warnings.simplefilter("ignore")
    module, name = peer.split(":")
    score = getattr(importlib.import_module(f"tests.benchmarks.detection.peers.{module}"), name)
    with np.load(taken) as sent:
        scores = score(
            sent["counts"],
            sent["starts"],
            timedelta(seconds=int(sent["step"])),
            ZoneInfo(str(sent["zone"])),
            int(sent["train"]),
        )
    np.savez(given, scores=scores)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
