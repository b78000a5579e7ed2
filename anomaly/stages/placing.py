"""Where the winners' networks are kept: one file per candidate and shard, new networks and kept ones side by side.

In: who won each variable. Out: each variable's place (file and position), and the files, in training and in serving
form, stored under the fit's MLflow run with their SHA-256. Files are named by their content: two attempts at the same
shard never write over each other's, whichever of them the metadata names in the end.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.candidates import CANDIDATES
from anomaly.detection.choosing import CHAMPION, Choice
from anomaly.detection.contest import Contest, Entry
from anomaly.groups import Group
from anomaly.ports import ArtifactReader, Fit, ModelRegistry, NetworkFile
from anomaly.stages.champions import Champion, grouped

Weights = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contestant's forecast comes from: whose, which candidate, which network of which file."""

    kept: bool
    """The champion's network, not a new one."""
    candidate: str
    slot: str
    position: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a contest went: who entered, who won each of the V contestants, where the winners are kept."""

    contest: Contest
    entries: Mapping[str, Entry]
    champion: Champion
    choices: tuple[Choice, ...]
    places: tuple[Place | None, ...]
    """None where nobody won."""


def placed(
    entries: Mapping[str, Entry], champion: Champion, choices: Sequence[Choice], shard: int
) -> tuple[Place | None, ...]:
    """Each winner's place in the files; None where nobody won. Files hold new networks and kept ones alike."""
    filled: Counter[str] = Counter()
    found: list[Place | None] = []
    for row, choice in enumerate(choices):
        kept = champion.fitted[row] if choice.name == CHAMPION else None
        name = kept.candidate if kept else choice.name
        if not name:
            found.append(None)
        elif kept is None and entries[name].weights is None:
            found.append(Place(kept=False, candidate=name, slot="", position=0))
        else:
            slot = f"{shard}/{name}"
            found.append(Place(kept=kept is not None, candidate=name, slot=slot, position=filled[slot]))
            filled[slot] += 1
    return tuple(found)


def store_networks(
    group: Group, fit: Fit, outcome: Outcome, *, registry: ModelRegistry, artifacts: ArtifactReader
) -> list[NetworkFile]:
    """One file per candidate with the networks of the variables it won, in both forms."""
    entries, champion, places = outcome.entries, outcome.champion, outcome.places
    in_files = [row for row, place in enumerate(places) if place and place.slot]
    if not in_files:
        return []
    from anomaly.detection import training

    stored: dict[str, Weights] = {}

    def network(row: int, place: Place) -> Weights:
        before = champion.fitted[row]
        if not place.kept or before is None:
            return training.take(entries[place.candidate].weights or (), np.array([row]))
        if before.slot not in stored:
            file = champion.files[before.slot]
            stored[before.slot] = training.read_training_form(
                artifacts.read(file.training_uri, sha256=file.training_sha256)
            )
        return training.take(stored[before.slot], np.array([before.position]))

    files = []
    for (slot, name), rows in grouped(in_files, lambda row: _slot_of(places[row])).items():
        weights = training.stack([network(row, place) for row in rows if (place := places[row])])
        window = CANDIDATES[name].window(group.interval).shape
        learned = training.training_form(CANDIDATES[name], window, weights)
        served = training.serving_form(CANDIDATES[name], window, weights)
        learned_sha256, served_sha256 = (hashlib.sha256(content).hexdigest() for content in (learned, served))
        learned_name, served_name = f"training-{learned_sha256[:16]}.keras", f"serving-{served_sha256[:16]}.onnx"
        uris = registry.log_network(fit, slot, {learned_name: learned, served_name: served})
        files.append(
            NetworkFile(
                slot=slot,
                candidate=name,
                variables=len(rows),
                training_uri=uris[learned_name],
                training_sha256=learned_sha256,
                serving_uri=uris[served_name],
                serving_sha256=served_sha256,
            )
        )
    return files


def _slot_of(place: Place | None) -> tuple[str, str]:
    return (place.slot, place.candidate) if place else ("", "")
