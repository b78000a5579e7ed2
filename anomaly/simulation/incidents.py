"""Incidents injected into counts, real or simulated, with the truth.

In: counts, and where they are known the true means. Out: the counts as a broken pipeline would have written them,
and an `Injected` for each incident. What can break, and how badly, is in `anomaly.simulation.faults`.

An incident begins where its variable is active and lasts over enough events to be one; incidents of a variable lie
at least 36 hours apart. Where no such place is found the incident is left out: the truth lists what was done, not
what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.simulation.faults import FAULTS, Change, Series
from anomaly.simulation.local_means import local_means
from anomaly.simulation.streams import stream
from anomaly.simulation.wall_clock import local_seconds, middles

KINDS = tuple(FAULTS)
APART = timedelta(hours=36)
"""Least distance between the incidents of a variable."""
LEAST_EVENTS = 5.0
"""Usual events over an incident; where there are fewer, nobody could tell."""
ACTIVE = 0.25
"""Share of a variable's mean that is expected in the first interval of an incident."""
ORDINARY = 0.5
"""Share of the usual events that must be there to be lost, or be written; where a real incident, or a pause between
bursts, has left fewer, another one would not show."""
_TRIES = 60
_BEGINS_ANYWHERE = frozenset({"wrong-day"})
"""Kinds that look for their first interval themselves."""


@dataclass(frozen=True, slots=True)
class Injected:
    """The truth of one incident."""

    row: int
    variable: str
    kind: str
    start: int
    """Index of its first interval."""
    end: int
    """Index after its last interval. A delay's silence and its catch-up both belong to it."""
    magnitude: float
    """How bad; what the number means depends on the kind."""


def inject(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    *,
    step: timedelta,
    zone: ZoneInfo,
    seed: int,
    per_variable: float,
    begin: int,
    expected: NDArray[np.float64] | None = None,
    kinds: Sequence[str] = KINDS,
    names: Sequence[str] | None = None,
) -> tuple[NDArray[np.int64], tuple[Injected, ...]]:
    """Breaks things.

    Args:
        counts: (V, N), whole and not negative; left as they are.
        starts: (N,), UTC.
        step: length of an interval.
        zone: whose days and weeks count.
        seed: the same seed gives the same incidents; a variable's depend on its row and name, on no other variable.
        per_variable: incidents per variable, on average; 0.25 breaks every fourth.
        begin: index of the first interval that may be touched; what lies before it is clean history.
        expected: (V, N) true means. Left out, a robust mean of each time of the local week stands in.
        kinds: what may happen, each as often as the others.
        names: (V,) of the variables; left out, ``row 0`` and so on.

    Returns:
        The counts with the incidents, (V, N), and the incidents by row and start.

    Raises:
        ValueError: shapes that do not fit, counts that are not counts, an unknown kind, a number out of range.
    """
    _check(counts, starts, per_variable, begin, kinds, names)
    means = local_means(counts, starts, step, zone) if expected is None else expected
    local = local_seconds(middles(starts, step), zone)
    broken, truth = counts.copy(), []
    first = stream("kinds", seed, "").random()
    for row, name in enumerate(names or [f"row {row}" for row in range(len(counts))]):
        wanted = range(int(first + row * per_variable), int(first + (row + 1) * per_variable))
        series = Series(counts[row], means[row], local, step, type_share(name, seed))
        drawn = [_kind(kinds, number, seed) for number in wanted]
        for kind, change in _incidents(drawn, series, stream("incidents", seed, name), begin):
            broken[row, change.start : change.end] = change.counts
            truth.append(Injected(row, name, kind, change.start, change.end, float(change.magnitude)))
    return broken, tuple(sorted(truth, key=lambda one: (one.row, one.start)))


def type_share(name: str, seed: int) -> float:
    """Share of a variable's events that its lesser entity type carries, the one that may go missing: 0.15 to 0.5."""
    return float(stream("types", seed, name).uniform(0.15, 0.5))


def _kind(kinds: Sequence[str], number: int, seed: int) -> str:
    """The kind of the incident with this number: all kinds in a new order, again and again, across the variables."""
    lap, place = divmod(number, len(kinds))
    return str(stream("kinds", seed, f"lap {lap}").permutation(kinds)[place])


def _incidents(kinds: Sequence[str], series: Series, rng: np.random.Generator, begin: int) -> list[tuple[str, Change]]:
    """One of each that finds a place."""
    gap = -(-APART // series.step)
    free = np.arange(len(series.counts)) >= begin
    done = []
    for kind in kinds:
        if (change := _placed(kind, series, rng, free)) is not None:
            done.append((kind, change))
            free[max(0, change.start - gap) : change.end + gap] = False
    return done


def _placed(kind: str, series: Series, rng: np.random.Generator, free: NDArray[np.bool_]) -> Change | None:
    """The incident in a place that suits it, or nothing after so many tries."""
    active = series.expected >= max(ACTIVE * series.expected.mean(), np.finfo(float).tiny)
    places = np.flatnonzero(free if kind in _BEGINS_ANYWHERE else free & active)
    if not places.size:
        return None
    for start in rng.choice(places, _TRIES):
        change = FAULTS[kind](series, rng, int(start))
        if change is not None and _counts_as_one(change, series, free):
            return change
    return None


def _counts_as_one(change: Change, series: Series, free: NDArray[np.bool_]) -> bool:
    stretch = slice(change.start, change.end)
    before = series.counts[stretch]
    return (
        bool(free[stretch].all())
        and change.usual >= LEAST_EVENTS
        and int(max(before.sum(), change.counts.sum())) >= ORDINARY * change.usual
        and not np.array_equal(change.counts, before)
    )


def _check(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    per_variable: float,
    begin: int,
    kinds: Sequence[str],
    names: Sequence[str] | None,
) -> None:
    if counts.ndim != 2 or counts.shape[1] != len(starts) or (names is not None and len(names) != len(counts)):
        raise ValueError(
            f"counts have shape {counts.shape}, with {len(starts)} starts and "
            f"{'no' if names is None else len(names)} names; expected (V, N), N and V"
        )
    if not np.issubdtype(counts.dtype, np.integer) or counts.min(initial=0) < 0:
        raise ValueError(f"counts are {counts.dtype} from {counts.min(initial=0)}; expected whole numbers, 0 or more")
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"kinds {unknown} are unknown; expected some of {', '.join(KINDS)}")
    if not kinds or per_variable < 0 or not 0 <= begin <= len(starts):
        raise ValueError(
            f"{len(kinds)} kinds, {per_variable} incidents per variable from interval {begin} of {len(starts)}; "
            "expected at least one kind, 0 or more, and an index in the range"
        )
