"""Learns what is normal for V variables from their history, and watches what comes after: all in memory.

In: counts or gauges (V, T). Out: predictions, tail probabilities and verdicts for every interval after the first
history, strictly causal: what is said of an interval follows from what came before it and from itself. A fit is made
every so many intervals from the history before it, as a group's weekly fit is; the contest, the tests and the walk are
those of the stages, without stores between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import calendars, months, transforms, verdicts
from anomaly.detection.candidates import CONSTANT, candidate, entered
from anomaly.detection.choosing import Choice, choose
from anomaly.detection.contest import Contest, Entry, enter, open_contest, warm_up
from anomaly.detection.evidence import Evidence, FittedTest, Series, runs_per_excess
from anomaly.detection.fitted_tests import fit_tests
from anomaly.detection.forecasts import Panel, Past, needed_before, walk
from anomaly.detection.scaling import Scaler
from anomaly.detection.statuses import RARE_RATE, Judgement, classify
from anomaly.detection.thresholds import in_intervals, limit, probabilities
from anomaly.groups.model import DEFAULT_CANDIDATES, Threshold, Transform

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """How V series are watched: what a group's file says, as far as it matters here."""

    step: timedelta
    zone: ZoneInfo
    transform: Transform = Transform.ANSCOMBE
    candidates: tuple[str, ...] = DEFAULT_CANDIDATES
    distribution: str = "nct"
    threshold: Threshold = field(default_factory=Threshold)
    holidays: str | None = None
    history: timedelta = timedelta(days=90)
    """At most this much is learned from."""
    refit: timedelta = timedelta(days=7)
    merge_gap: timedelta = timedelta(hours=12)
    least: timedelta = timedelta(days=21)
    """A variable with less history is not judged."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What one fit found."""

    judgements: tuple[Judgement, ...]
    choices: tuple[Choice | None, ...]
    """(V,) None for variables that were in no contest."""
    tests: tuple[tuple[FittedTest, ...], ...]
    panels: tuple[Panel, ...]
    month_days: Floats
    """(2, V, 62) by how much days of the month depart, and may (`anomaly.detection.months`)."""


@dataclass(frozen=True, slots=True)
class Watched:
    """(V, T); NaN and '' before the first fit and where nothing could be predicted."""

    predicted: Floats
    """In events per interval, or the gauge's unit."""
    outlook: Floats
    """The same, before the day began."""
    residuals: Floats
    """In the transform."""
    tail_probabilities: Floats
    evidence: Floats
    """Signed -ln of the tail probability; negative for too low."""
    allowed: Floats
    """Tail probability from which an interval is anomalous."""
    tests: NDArray[np.str_]
    kinds: NDArray[np.str_]
    lower: Floats
    upper: Floats
    """Single counts outside [lower, upper] are anomalies."""
    learned: tuple[tuple[int, Learned], ...]
    """Each fit, with the interval from which it served."""


def contest_tests(
    contest: Contest,
    predictions: Floats,
    *,
    observed: Floats,
    felt: Floats,
    ordinary: Mask,
    distribution: str,
    merge_gap: timedelta,
) -> list[tuple[FittedTest, ...]]:
    """The tests of a contest's variables, from what their chosen forecasts say about the history.

    Args:
        contest: of V variables over T intervals, of which the last N are predicted.
        predictions: (V, N), in the transform.
        observed, felt: (V, T) counts as written, and with stand-ins.
        ordinary: (V, T) intervals that stand for what is normal.
        distribution: of single residuals.
        merge_gap: between anomalies of one incident, at most.
    """
    at = contest.at
    series = Series(
        observed[:, at],
        felt[:, at],
        contest.counts(predictions),
        contest.counts(contest.channels.outlook(contest.rare, slice(None))[:, at]),
    )
    return fit_tests(
        series,
        ordinary[:, at],
        rare=contest.rare,
        distribution=distribution,
        step=contest.step,
        transform=contest.transform,
        gap=merge_gap // contest.step,
        turn=calendars.turn_of_month(contest.starts[at], contest.zone),
    )


def constant_tests(
    counts: Floats,
    constant: float,
    ordinary: Mask,
    *,
    distribution: str,
    step: timedelta,
    transform: Transform,
    merge_gap: timedelta,
) -> tuple[FittedTest, ...]:
    """The tests of a variable whose forecast is a constant: (1, T) counts."""
    expected = np.full(counts.shape, constant)
    rare = np.array([constant < RARE_RATE and transform is Transform.ANSCOMBE])
    series = Series(counts, counts, expected, expected)
    (tests,) = fit_tests(
        series,
        ordinary,
        rare=rare,
        distribution=distribution,
        step=step,
        transform=transform,
        gap=merge_gap // step,
        turn=np.zeros(counts.shape[1], dtype=bool),
    )
    return tests


def learn(
    observed: Floats,
    felt: Floats,
    ordinary: Mask,
    starts: NDArray[np.datetime64],
    practice: Practice,
    *,
    seeds: Sequence[int],
    anomalous: Mask | None = None,
    then: Floats | None = None,
) -> Learned:
    """One fit of all variables.

    Args:
        observed, felt: (V, T) the history, as written and with stand-ins for anomalies.
        ordinary: (V, T) intervals that may teach.
        starts: (T,) datetime64[s], UTC.
        practice: how.
        seeds: (V,)
        anomalous: (V, T) intervals that were anomalous in their time, and nothing else that is not ordinary.
        then: (V, T) what fits of the time took the day of the month for; None for nothing.
    """
    p = practice
    candidates = entered(p.candidates)
    warm = warm_up(candidates.values(), p.step)
    judgements = classify(felt, required=p.least // p.step, warm_up=warm)
    able = np.array([row for row, j in enumerate(judgements) if j.status == "fitted"], dtype=np.int64)
    choices: list[Choice | None] = [None] * len(observed)
    tests: list[tuple[FittedTest, ...]] = [()] * len(observed)
    panels: list[Panel] = []
    struck = np.zeros_like(ordinary) if anomalous is None else anomalous
    month_days = np.zeros((2, len(observed), months.DAYS))
    month_days[:, able] = months.learned(
        observed[able],
        (ordinary | struck)[able],
        struck[able],
        starts,
        step=p.step,
        zone=p.zone,
        transform=p.transform,
    )
    for row, judgement in enumerate(judgements):
        if judgement.status not in {"fitted", "new"}:
            tests[row] = constant_tests(
                felt[[row]],
                judgement.constant,
                ordinary[[row]],
                distribution=p.distribution,
                step=p.step,
                transform=p.transform,
                merge_gap=p.merge_gap,
            )
            level = transforms.forward(np.array([judgement.constant]), p.transform)
            constant = candidate(CONSTANT)
            panels.append(
                Panel(np.array([row]), None, 1, Scaler(level, level), constant.window(p.step), False, constant.forecast)  # type: ignore[arg-type]  # noqa: FBT003
            )
    if able.size:
        departed, _ = months.departures(month_days[:, able], starts, p.zone)
        known = months.renewed(
            observed[able], felt[able], departed - (0.0 if then is None else then[able]), p.transform
        )
        contest = open_contest(
            transforms.forward(months.without(known, departed, p.transform), p.transform),
            ordinary[able],
            starts=starts,
            step=p.step,
            zone=p.zone,
            transform=p.transform,
            warm=warm,
            departed=departed,
        )
        entries = {
            name: enter(declared, contest, seeds=[seeds[row] for row in able], order_seed=seeds[0])
            for name, declared in candidates.items()
        }
        chosen = choose({name: entry.mae for name, entry in entries.items()})
        predictions = np.full(contest.targets.shape, np.nan)
        for at, choice in enumerate(chosen):
            if choice.name:
                predictions[at] = entries[choice.name].predictions[at]
        fitted = contest_tests(
            contest,
            predictions,
            observed=observed[able],
            felt=known,
            ordinary=ordinary[able],
            distribution=p.distribution,
            merge_gap=p.merge_gap,
        )
        for at, row in enumerate(able):
            choices[row] = chosen[at]
            tests[row] = fitted[at] if chosen[at].name else ()
        panels += _panels(contest, entries, chosen, able)
    return Learned(judgements, tuple(choices), tuple(tests), tuple(panels), month_days)


def _panels(
    contest: Contest, entries: Mapping[str, Entry], chosen: Sequence[Choice], able: NDArray[np.int64]
) -> list[Panel]:
    panels = []
    for name, entry in entries.items():
        won = np.array([at for at, choice in enumerate(chosen) if choice.name == name], dtype=np.int64)
        if not won.size:
            continue
        declared = candidate(name)
        window = declared.window(contest.step)
        scaler = contest.scaler_of(declared).take(won)
        if declared.forecast is not None:
            panels.append(Panel(able[won], None, len(won), scaler, window, declared.relative, declared.forecast))
        if entry.weights is not None:
            from anomaly.detection import training

            predict = training.forecaster(declared, window.shape, training.take(entry.weights, won))
            rows, places = able[won], np.arange(len(won))
            panels.append(Panel(rows, places, len(won), scaler, window, declared.relative, predict, at_once=True))
    return panels


def watch(
    values: Floats,
    starts: NDArray[np.datetime64],
    practice: Practice,
    *,
    first: int,
    seeds: Sequence[int],
    names: Sequence[str] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Watched:
    """Fits at `first` and then again and again, and judges all intervals from `first` on.

    Args:
        values: (V, T); NaN where unknown.
        starts: (T,) datetime64[s], UTC.
        practice: how.
        first: interval of the first fit; all before it is history.
        seeds: (V,) of the networks' first weights.
        names: (V,) of the series; a total among them gets a share of the policy of its own.
        told: progress, in words.
    """
    p = practice
    shape = values.shape
    special = calendars.special(starts, p.zone, p.holidays)
    felt, expected, outlook, residuals, evidence, lower, upper, allowed = (np.full(shape, np.nan) for _ in range(8))
    felt[:, :first] = values[:, :first]
    anomalous, then = np.zeros(shape, dtype=bool), np.zeros(shape)
    tests, kinds = (np.full(shape, "", dtype=verdicts.KIND) for _ in range(2))
    shares = probabilities(p.threshold, names or [""] * shape[0], interval=p.step)
    learned: list[tuple[int, Learned]] = []
    every = max(1, p.refit // p.step)
    for begin in range(first, shape[1], every):
        end = min(begin + every, shape[1])
        history = slice(max(0, begin - p.history // p.step), begin)
        ordinary = np.isfinite(values[:, history]) & ~anomalous[:, history] & ~special[history]
        struck = anomalous[:, history] & ~special[history]
        fit = learn(
            values[:, history],
            felt[:, history],
            ordinary,
            starts[history],
            p,
            seeds=seeds,
            anomalous=struck,
            then=then[:, history],
        )
        learned.append((begin, fit))
        ready = Evidence(fit.tests, step=p.step, transform=p.transform)
        back = max(0, begin - needed_before([panel.window for panel in fit.panels], p.step) // p.step)
        departed = months.departures(fit.month_days, starts[back:end], p.zone)
        then[:, begin:end] = departed[0, :, begin - back :]
        past = Past(
            observed=values[:, back:end],
            felt=felt[:, back:begin],
            expected=expected[:, back:begin],
            anomalous=anomalous[:, back:begin],
            starts=starts[back:end],
            step=p.step,
            zone=p.zone,
            transform=p.transform,
            special=special[back:end],
            departed=departed,
            then=then[:, back:begin],
        )
        limits = np.array(
            [
                limit(in_intervals(share, runs_per_excess(tested)), p.threshold.direction)
                for share, tested in zip(shares, fit.tests, strict=True)
            ]
        )
        allowed[:, begin:end] = np.exp(-limits)[:, None]
        walked = walk(past, fit.panels, ready, limits, p.threshold)
        part = slice(begin, end)
        felt[:, part], residuals[:, part], evidence[:, part] = walked.felt, walked.residuals, walked.evidence
        outlook[:, part] = walked.outlook
        expected[:, part] = transforms.inverse(walked.predicted, p.transform)
        tests[:, part], kinds[:, part] = walked.tests, walked.kinds
        anomalous[:, part] = walked.kinds != ""
        beside = (walked.outlook, walked.season)
        low, high = ready.bounds(expected[:, part], limits, p.threshold.direction, beside=beside)
        lower[:, part], upper[:, part] = low, high
        told(f"{end} of {shape[1]} intervals")
    return Watched(
        predicted=expected,
        outlook=outlook,
        residuals=residuals,
        tail_probabilities=np.exp(-np.abs(evidence)),
        evidence=evidence,
        allowed=allowed,
        tests=tests,
        kinds=kinds,
        lower=lower,
        upper=upper,
        learned=tuple(learned),
    )
