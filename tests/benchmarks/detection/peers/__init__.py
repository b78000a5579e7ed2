"""Other detectors, each in a file of its own, all causal, with one signature.

``score(counts (V, N), starts (N,), step, zone, train) -> (V, N)``: larger is more anomalous, NaN before `train`, and
what is said of an interval depends on counts up to it only.

Those with libraries of their own run in an environment of their own, ``var/cache/peers``, which
``make bench-detection`` makes from ``requirements.txt`` here. A peer whose libraries are not there is skipped, with
the reason in the table. Scores are kept in ``var/cache/bench-detection`` until the peer's code or the counts change.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Callable[[NDArray[np.int64], NDArray[np.datetime64], timedelta, ZoneInfo, int], Floats]

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[3]
PYTHON = CHECKOUT / "var" / "cache" / "peers" / "bin" / "python"
KEPT = CHECKOUT / "var" / "cache" / "bench-detection"


@dataclass(frozen=True, slots=True)
class Peer:
    """One detector to be compared with."""

    name: str
    where: str
    """``module:function`` in this folder. Of a peer with `parts` the function takes the parts' scores."""
    library: str = ""
    """What has to be importable in the environment apart; '' for a peer that needs nothing but the product's own."""
    most: int = 0
    """Series it is run on, drawn at random; 0 for all. For slow ones."""
    parts: tuple[Peer, ...] = ()
    """Peers that this one puts together."""


_PCA = Peer("PyOD PCA on lags", "anomstack:pca", library="pyod")
_KNN = Peer("PyOD KNN on lags", "anomstack:knn", library="pyod")
PEERS = (
    Peer("hour-of-week median/MAD", "hour_of_week:score"),
    Peer("elementary", "elementary:score"),
    Peer("Etsy Skyline's rules", "skyline:score"),
    Peer("luminol, default detector", "luminol:default", library="luminol"),
    Peer("luminol, bitmap detector", "luminol:bitmap", library="luminol"),
    _PCA,
    _KNN,
    Peer("anomstack: PyOD PCA + KNN", "anomstack:combined", parts=(_PCA, _KNN)),
)
SLOW_PEERS = (Peer("Prophet's band", "prophet_band:score", library="prophet", most=24),)


class PeerMissingError(Exception):
    """A peer cannot run here. The message says why."""


def score(
    peer: Peer,
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
) -> Floats:
    """The peer's scores, computed or kept from the last time.

    Raises:
        PeerMissingError: its library is not installed, or it failed.
    """
    if peer.parts:
        return _function(peer)([score(part, counts, starts, step, zone, train) for part in peer.parts])
    kept = KEPT / f"{_key(peer, counts, starts, step, zone, train)}.npz"
    if kept.exists():
        with np.load(kept) as stored:
            found: Floats = stored["scores"]
            return found
    compute: Score = functools.partial(_apart, peer) if peer.library else _function(peer)
    scores = compute(counts, starts, step, zone, train)
    KEPT.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(kept, scores=scores)
    return scores


def _function(peer: Peer) -> Callable[..., Floats]:
    module, name = peer.where.split(":")
    function: Callable[..., Floats] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return function


def _apart(
    peer: Peer,
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
) -> Floats:
    if reason := missing(peer.library):
        raise PeerMissingError(reason)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as threads:
        asked = []
        for part, rows in enumerate(np.array_split(counts, min(len(counts), os.cpu_count() or 1))):
            taken, given = Path(folder, f"in-{part}.npz"), Path(folder, f"out-{part}.npz")
            np.savez(
                taken, counts=rows, starts=starts, step=int(step.total_seconds()), zone=str(zone), train=np.array(train)
            )
            asked.append((threads.submit(_ask, peer, taken, given), given))
        for answer, _ in asked:
            if problem := answer.result():
                raise PeerMissingError(f"it failed: {problem}")
        return np.concatenate([np.load(given)["scores"] for _, given in asked])


def _ask(peer: Peer, taken: Path, given: Path) -> str:
    """Runs a process of its own, with one thread; the last line of what went wrong, or ''."""
    done = subprocess.run(
        [str(PYTHON), "-m", f"{__name__}.apart", peer.where, str(taken), str(given)],
        cwd=CHECKOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.returncode:
        return ""
    return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]


@functools.cache
def missing(library: str) -> str:
    """Why a library cannot be used; '' when it can."""
    if not PYTHON.exists():
        return "its environment is not there; `make bench-detection` makes it"
    asked = subprocess.run([str(PYTHON), "-c", f"import {library}"], capture_output=True, text=True, check=False)
    if asked.returncode:
        return f"`import {library}` fails in its environment: {asked.stderr.strip().splitlines()[-1]}"
    return ""


def _key(
    peer: Peer,
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
) -> str:
    digest = hashlib.sha256(f"{peer.where} {step} {zone} {train} {counts.shape}".encode())
    for source in (HERE / f"{peer.where.split(':')[0]}.py", HERE / "local_time.py", HERE / "requirements.txt"):
        digest.update(source.read_bytes())
    digest.update(counts.tobytes())
    digest.update(starts.astype("datetime64[s]").tobytes())
    return digest.hexdigest()[:32]
