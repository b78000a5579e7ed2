"""What ranking by labels gains: alarms that go to the digest, and confirmed incidents that would go with them.

Simulated, because nobody has labelled hundreds of incidents for us: a group of variables of which some cry wolf, most
of their false alarms small and at the hour of a nightly batch; real incidents that are larger, longer, more often
downwards, and that also hit the variables that cry wolf. An incident begins with one variable and grows, hour by hour,
as its anomalies come in; it is ranked when it opens and again as it grows, and is told at the first rank that is not
low. People err in one label of twenty, call a tenth of the incidents expected, and label half of what is in a message
and a twentieth of what is in the digest. A variable that
cried wolf is mended half-way, and others begin. The model learns again every week from what it has, and its choices
decide what is labelled next: nothing is held back from the feedback that it would have in production.

Figures are of the second half, and of seeds that nothing was chosen by (`REPORTED`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from rich.table import Table

from anomaly.detection.incidents import Anomaly, Incident, grown
from anomaly.detection.ranking import (
    EXPECTED_WEIGHT,
    Memory,
    Ranking,
    Said,
    auc,
    features,
    learn,
    ranked,
    remembered,
)
from tests.benchmarks.detection import data
from tests.benchmarks.detection.reporting import Section, mean, plain
from tests.benchmarks.measuring import Figure

TUNING, REPORTED = range(3), range(100, 108)
WEEKS, PER_WEEK, VARIABLES = 52, 12, 40
WOLVES = 6
WRONG, EXPECTED, LABELLED, LABELLED_IN_DIGEST = 0.05, 0.1, 0.5, 0.05
DIGEST_BELOW = 0.2
AIM_REAL_IN_DIGEST = 0
HOUR = timedelta(hours=1)
START = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Happened:
    states: tuple[Incident, ...]
    """As it was when it opened, as it grew, as it was in the end."""
    real: bool

    @property
    def incident(self) -> Incident:
        return self.states[-1]


def simulated(seed: int) -> list[Happened]:
    """A year of incidents, by start."""
    rng = np.random.default_rng(seed)
    wolves = [rng.choice(VARIABLES, WOLVES, replace=False) for _ in range(2)]
    starts = np.sort(rng.uniform(0, WEEKS * 168, WEEKS * PER_WEEK)).astype(int)
    return [_incident(rng, hour, wolves[2 * hour // (WEEKS * 168)]) for hour in starts.tolist()]


def _incident(rng: np.random.Generator, hour: int, wolves: Sequence[int]) -> Happened:
    real = bool(rng.random() < 0.3)
    if real:
        names = rng.choice(VARIABLES, min(VARIABLES, 1 + rng.geometric(0.35)), replace=False)
        hours, decades, lost = 2 + rng.geometric(0.1), rng.exponential(2.0), rng.uniform(0.15, 1.0)
        kind = rng.choice(["drop", "silent", "drop", "frozen", "surge"])
    else:
        names = rng.choice(wolves, 1) if rng.random() < 0.7 else rng.choice(VARIABLES, 1 + rng.integers(2))
        hour = hour // 24 * 24 + 3 if rng.random() < 0.5 else hour
        hours, decades, lost = 1 + rng.geometric(0.4), rng.exponential(0.8), rng.uniform(0.1, 0.6)
        kind = rng.choice(["surge", "drop", "surge", "shift"])
    return Happened(_grown(rng, START + hour * HOUR, int(hours), names.tolist(), str(kind), decades, lost), real)


def _grown(
    rng: np.random.Generator, start: datetime, hours: int, names: Sequence[int], kind: str, decades: float, lost: float
) -> tuple[Incident, ...]:
    """One variable begins, others join within hours; each has its worst hour some time, and is milder in the others."""
    expected, sign = float(rng.lognormal(4, 1)), 1 if kind == "surge" else -1
    anomalies = []
    for place, name in enumerate(dict.fromkeys(names)):
        worst = decades * (1.0 if place == 0 else rng.uniform(0.5, 1.0))
        joins = 0 if place == 0 else min(int(rng.geometric(0.4)), hours - 1)
        by_hour = worst * rng.uniform(0.3, 0.9, hours - joins)
        by_hour[rng.integers(len(by_hour))] = worst
        anomalies += [
            Anomaly(
                f"v{name}", start + (joins + hour) * HOUR, kind, expected * (1 + sign * lost), expected, 0.0,
                1e-5 * 10 ** -float(beyond), allowed=1e-5,
            )
            for hour, beyond in enumerate(by_hour)
        ]  # fmt: skip
    return grown("g", anomalies, step=HOUR, merge_gap=6 * HOUR, min_anomalies=1, of=[start])[start]


@dataclass(frozen=True, slots=True)
class Gained:
    """Of the second half of a year."""

    false: int
    false_in_digest: int
    real: int
    real_in_digest: int
    """Confirmed incidents that nobody was told of by a message; they are in the digest."""
    real_told_late: int
    """Confirmed incidents that were told only when they had grown."""
    auc: float
    """Of all first ranks, by what the incidents were."""
    labels: int
    mended: float
    """Mean rank of the incidents of variables that cried wolf in the first half only, in the last quarter."""


def live(seed: int, *, digest_below: float = DIGEST_BELOW) -> Gained:
    """A year, week by week: learn, rank, tell, label."""
    happened = simulated(seed)
    rng = np.random.default_rng([seed, 1])
    said: list[Said] = []
    taught: list[tuple[tuple[Incident, ...], bool, float]] = []
    ranking: Ranking | None = None
    week, half = 0, START + WEEKS * 168 * HOUR / 2
    digest: dict[int, bool] = {}
    late_told: set[int] = set()
    ranks: dict[int, float] = {}
    for number, one in enumerate(happened):
        while one.incident.start >= START + (week + 1) * timedelta(weeks=1):
            week += 1
            ranking = _learned(taught, said, digest_below=digest_below)
        down = False
        if ranking is not None:
            memory = remembered(said, one.incident.start)
            found = [ranked(ranking, state, memory, zone=UTC, seed=seed) for state in one.states]  # type: ignore[arg-type]
            down, ranks[number] = all(f.to_digest for f in found), found[0].rank
            if found[0].to_digest and not down:
                late_told.add(number)
        digest[number] = down
        if rng.random() < (LABELLED_IN_DIGEST if down else LABELLED):
            word = one.real if rng.random() > WRONG else not one.real
            expected = rng.random() < EXPECTED
            weight = EXPECTED_WEIGHT if expected else 1.0
            given = one.incident.end + timedelta(hours=float(rng.uniform(1, 30)))
            names = tuple(v.variable for v in one.incident.variables)
            said.append(Said(given, names, word and not expected, weight))
            taught.append((one.states, word and not expected, weight))
    late = [n for n, one in enumerate(happened) if one.incident.start >= half]
    real = np.array([happened[n].real for n in late])
    below = np.array([digest[n] for n in late])
    known = [n for n in late if n in ranks]
    return Gained(
        false=int((~real).sum()),
        false_in_digest=int((below & ~real).sum()),
        real=int(real.sum()),
        real_in_digest=int((below & real).sum()),
        real_told_late=sum(happened[n].real for n in late if n in late_told),
        auc=auc(np.array([ranks[n] for n in known]), np.array([happened[n].real for n in known])),
        labels=len(taught),
        mended=_mended(happened, ranks, seed),
    )


def _learned(
    taught: Sequence[tuple[tuple[Incident, ...], bool, float]], said: Sequence[Said], *, digest_below: float
) -> Ranking | None:
    if not taught:
        return None
    ordered = sorted(taught, key=lambda item: item[0][0].start)
    memory, waiting, rows = Memory(), sorted(said, key=lambda s: s.at), []
    for states, _, _ in ordered:
        while waiting and waiting[0].at < states[0].start:
            memory.take(waiting.pop(0))
        rows.append(np.stack([features(state, memory, zone=UTC) for state in states]))  # type: ignore[arg-type]
    real, weights = np.array([r for _, r, _ in ordered]), np.array([w for _, _, w in ordered])
    return learn(rows, real, weights, digest_below=digest_below, seed=1)


def _mended(happened: Sequence[Happened], ranks: Mapping[int, float], seed: int) -> float:
    rng = np.random.default_rng(seed)
    before, after = (set(rng.choice(VARIABLES, WOLVES, replace=False).tolist()) for _ in range(2))
    names = {f"v{n}" for n in before - after}
    quarter = START + WEEKS * 168 * HOUR * 0.75
    found = [
        ranks[n]
        for n, one in enumerate(happened)
        if n in ranks and one.real and one.incident.start >= quarter and one.incident.variables[0].variable in names
    ]
    return float(np.mean(found)) if found else math.nan


def ranking_benchmark(seeds: Sequence[int]) -> Section:
    """The section `ranking` of the benchmarks of the detection; seeds as in there, which stand for this one's own.

    A group has far fewer incidents in a year than variables have intervals, so that more seeds are needed here:
    `TUNING` where the others use the seed for tuning, `REPORTED` for the reported ones, and others as they are.
    """
    own = {(data.TUNING_SEED,): tuple(TUNING), tuple(data.REPORTING_SEEDS): tuple(REPORTED)}
    chosen = own.get(tuple(seeds), tuple(seeds))
    return summed_up(chosen, [live(seed) for seed in chosen])


def summed_up(seeds: Sequence[int], found: Sequence[Gained]) -> Section:
    """Sums over the seeds' second halves, and each seed by itself."""
    table = Table(
        "seed", "false alarms", "in the digest", "real incidents", "in the digest", "told late", "auc",
        "labels in a year", "rank of real ones on mended variables", title="Ranking by labels, simulated",
    )  # fmt: skip
    for seed, one in zip(seeds, found, strict=True):
        table.add_row(
            str(seed), *_counted([one]), str(one.real_told_late), f"{one.auc:.3f}", str(one.labels), f"{one.mended:.2f}"
        )
    middle = {name: mean([getattr(one, name) for one in found]) for name in ("auc", "labels", "mended")}
    table.add_section()
    told_late = str(sum(one.real_told_late for one in found))
    row = (told_late, f"{middle['auc']:.3f}", f"{middle['labels']:.0f}", f"{middle['mended']:.2f}")
    table.add_row("all", *_counted(found), *row)
    hidden = sum(one.real_in_digest for one in found)
    goals = [Figure("real incidents in the digest", hidden, AIM_REAL_IN_DIGEST, "at most", "", {})]
    return Section("ranking", goals, [table], plain({"seeds": seeds, "by_seed": [asdict(one) for one in found]}))


def _counted(found: Sequence[Gained]) -> Iterator[str]:
    for kind in ("false", "real"):
        all_of_them, below = (sum(getattr(one, name) for one in found) for name in (kind, f"{kind}_in_digest"))
        yield f"{all_of_them:,}"
        yield f"{below:,} ({below / all_of_them:.1%})" if all_of_them else "-"
