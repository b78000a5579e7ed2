"""The rules behind a variable's thresholds, worked out again from what is stored of them.

In: a group's policy, a variable's fitted tests, and what the store has of an interval. Out: `Share` (from false alerts
a week to the evidence that an interval needs), `TestLimit` (what that amounts to for each test: residuals, counts, a
wait, a run) and `Looked` (what each test said of one interval). Nothing is fitted here and nothing is looked up in the
numbers that were stored as results: those are what these are compared with.

A test's limit is found backwards along the way that evidence goes (`anomaly.detection.evidence`): the final evidence
that the policy asks for, through the inverse of the calibration of all tests together, through the inverse of the
test's own, to a tail probability of the test's family, and from there to residuals and counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import months, transforms, verdicts
from anomaly.detection.calibration import IDENTITY
from anomaly.detection.channels import BASELINE, OUTLOOK, RATE, Channels
from anomaly.detection.evidence import (
    ANY,
    FROZEN,
    FROZEN_LEAST,
    FROZEN_REACH,
    LARGEST,
    LEVEL,
    LEVEL_REACH,
    SILENCE,
    SILENCE_REACH,
    SINGLE,
    Evidence,
    FittedTest,
    Series,
    at_turns,
    repeats,
    runs_per_excess,
)
from anomaly.detection.lookback import quiet_for, same_for
from anomaly.detection.thresholds import LARGEST_PROBABILITY, TOTALS_SHARE, in_intervals, limit, probabilities
from anomaly.groups.model import TOTAL, Direction, Threshold, Transform

Floats = NDArray[np.float64]

_WEEK = timedelta(weeks=1)
_LN2 = math.log(2)


# --- from the policy to one interval ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """How a group's false alerts are shared out to one interval of one variable."""

    false_alerts_per_week: float
    """Of the whole group."""
    part: float
    """Of these, in (0, 1]: what the variable and those it shares with may use up."""
    sharing: int
    """Variables that share this part, this one among them."""
    intervals_per_week: float
    direction: Direction
    beginning: float
    """Probability that a false incident begins in one interval."""
    run: float
    """Anomalous intervals that come with one incident, by the history."""
    probability: float
    """That one interval is anomalous by chance."""
    capped: bool
    """Whether the probability is the largest there is, and not what follows."""
    limit: float
    """Evidence from which an interval is anomalous."""


def share(
    policy: Threshold, names: Sequence[str], name: str, tests: Sequence[FittedTest], *, interval: timedelta
) -> Share:
    """What a variable gets of its group's false alerts.

    Args:
        policy: the group's.
        names: of all variables that share it.
        name: one of them.
        tests: its own.
        interval: length of an interval.
    """
    beginning = float(probabilities(policy, names, interval=interval)[list(names).index(name)])
    runs = runs_per_excess(tests)
    probability = in_intervals(beginning, runs)
    alone = TOTAL not in names or len(names) == 1
    others = sum(n != TOTAL for n in names)
    part = 1.0 if alone else TOTALS_SHARE if name == TOTAL else 1 - TOTALS_SHARE
    sharing = len(names) if alone else 1 if name == TOTAL else others
    return Share(
        false_alerts_per_week=policy.false_alerts_per_week,
        part=part,
        sharing=sharing,
        intervals_per_week=_WEEK / interval,
        direction=policy.direction,
        beginning=beginning,
        run=1 / runs,
        probability=probability,
        capped=probability == LARGEST_PROBABILITY,
        limit=limit(probability, policy.direction),
    )


# --- from there to each test ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TestLimit:
    """A test of a variable, and where it makes an interval anomalous all by itself. NaN and None where not said."""

    __test__ = False  # for pytest, which collects by name

    test: str
    family: str
    parameters: tuple[float, ...]
    reason: str
    knee: float
    """Evidence of the family that one interval in ten of the history exceeds; 2.30 if the family were right."""
    slope: float
    """How heavy the tail beyond is, where the family's is 1."""
    evidence: float
    """What the family itself has to say, -ln of its tail probability; more than 27.6 it never says."""
    length: int
    """Intervals that are added up; 0 for tests that add up nothing."""
    lower: float
    upper: float
    """Residuals in the transform beyond which it speaks; infinite where it does not, NaN for other tests."""
    usual: float
    """Events in so many intervals at the variable's mean rate."""
    fewest: float
    most: float
    """Counts outside of these are too few and too many, where `usual` is expected; infinite for a side that does not
    count, NaN for other tests."""
    lasting: float
    """Of silence, the wait, and of frozen values, the run, in intervals at the mean rate; NaN for other tests,
    infinite where even the longest that it looks at is not enough."""

    @property
    def reachable(self) -> bool:
        """Whether its evidence can be enough without another test's."""
        return self.evidence <= LARGEST and self.lasting != math.inf


def test_limits(
    tests: Sequence[FittedTest],
    needed: float,
    *,
    rate: float,
    step: timedelta,
    transform: Transform,
    direction: Direction,
) -> tuple[TestLimit, ...]:
    """Where each test alone makes an interval anomalous, in the tests' order.

    Args:
        tests: of one variable, as fitted.
        needed: final evidence from which an interval is anomalous.
        rate: mean count of the variable, in events per interval.
        step: length of an interval.
        transform: of the group.
        direction: what counts.
    """
    together = next((test.calibration for test in tests if test.test == ANY), IDENTITY)
    own = together.inverse(needed)
    return tuple(
        _test_limit(test, test.calibration.inverse(own), rate, step, transform, direction)
        for test in tests
        if test.test != ANY
    )


def _test_limit(
    test: FittedTest, evidence: float, rate: float, step: timedelta, transform: Transform, direction: Direction
) -> TestLimit:
    length = intervals_of(test.test, step)
    found = TestLimit(
        test=test.test,
        family=test.family,
        parameters=test.parameters,
        reason=test.reason,
        knee=test.calibration.knee,
        slope=test.calibration.slope,
        evidence=evidence,
        length=length,
        lower=math.nan,
        upper=math.nan,
        usual=length * rate if length else math.nan,
        fewest=math.nan,
        most=math.nan,
        lasting=math.nan,
    )
    if test.family == "gaps":
        return replace(found, lasting=_longest_wait(test, evidence, rate, step))
    if test.family == "repeats":
        return replace(found, lasting=_longest_run(test, evidence, rate, transform))
    # Seen as a test of single intervals without calibration, it has the thresholds that every such test has.
    alone = Evidence([(replace(test, test=SINGLE, calibration=IDENTITY),)], step=step, transform=transform)
    limits, expected = np.array([evidence]), np.array([[found.usual]])
    fewest, most = (float(side[0, 0]) for side in alone.bounds(expected, limits, direction))
    if test.family == "counts":
        return replace(found, fewest=fewest, most=most)
    lower, upper = (float(side[0]) for side in alone.thresholds(limits, direction))
    if transform is Transform.LINEAR and length > 1:  # such sums are tested on the scale of one interval
        fewest, most = (max(found.usual + math.sqrt(length) * side, 0.0) for side in (lower, upper))
    return replace(found, lower=lower, upper=upper, fewest=fewest, most=most)


def intervals_of(test: str, step: timedelta) -> int:
    """So many intervals a test adds up; 0 for the tests that add up nothing."""
    if test == SINGLE:
        return 1
    if test == LEVEL:
        return LEVEL_REACH // step
    return int(test.removeprefix("sum-")) if test.startswith("sum-") else 0


def _longest_wait(test: FittedTest, evidence: float, rate: float, step: timedelta) -> float:
    """The inverse of `anomaly.detection.evidence.of_waits`, in intervals."""
    median, excess = test.parameters
    events = median * evidence / _LN2 if evidence <= _LN2 else median + (evidence - _LN2) * excess
    intervals = events / rate if rate > 0 else math.inf
    return intervals if intervals <= SILENCE_REACH // step else math.inf


def _longest_run(test: FittedTest, evidence: float, rate: float, transform: Transform) -> float:
    """Equal counts that are too many at the mean rate, each as likely as a repetition can be there."""
    location, scale, half = test.parameters
    level = np.full((1, 2), round(rate) if transform is Transform.ANSCOMBE else rate)
    one = repeats(level, level, np.array([location]), np.array([scale]), np.array([half]), transform)[0, 0]
    run = max(math.ceil(evidence / one), FROZEN_LEAST) if one > 0 else math.inf
    return float(run + 1) if run <= FROZEN_REACH else math.inf


# --- one interval -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """One variable over T intervals, of which the last is explained; arrays (T,), NaN where unknown."""

    observed: Floats
    """Counts as they were judged."""
    felt: Floats
    """With stand-ins, as stored."""
    expected: Floats
    """Predictions as stored, in events per interval."""
    starts: NDArray[np.datetime64]
    """(T,) datetime64[s], UTC."""
    step: timedelta
    zone: ZoneInfo
    transform: Transform
    special: NDArray[np.bool_]
    """(T,) days unlike their kind."""
    departed: Floats
    """(T,) what the day of the month brings, by `anomaly.detection.months`."""
    perhaps: Floats
    """(T,) what it may bring."""
    then: Floats
    """(T,) what fits took it for, where something stands in for a count."""
    turn: bool
    """Whether it lies at the turn of a month, where some variables scatter more."""
    loose: bool
    """Whether there were too many anomalies of late to say what is usual (`anomaly.detection.evidence.unsettled`)."""
    replaced: bool
    """Whether a stand-in was stored for the last interval, because it was anomalous."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one test said of an interval."""

    test: str
    evidence: float
    """Calibrated by its own history; negative for too few."""
    needed: float
    """What it would have to be, to be enough by itself."""
    felt: float
    expected: float
    """What it compared, in events; NaN for tests that compare nothing."""
    lasted: int
    """Of frozen values, equal counts in a row; of silence, intervals without a write; 0 for other tests."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What all tests together said of an interval."""

    said: tuple[Said, ...]
    decided: str
    """The test with the strongest evidence, of those in a direction that counts."""
    evidence: float
    """Final and signed: of all tests together, by their history."""
    divisor: float
    """What the strongest evidence was divided by, because of the turn of a month; 1 on other days."""

    @property
    def tail_probability(self) -> float:
        return math.exp(-abs(self.evidence))


def looked_again(judged: Judged, tests: Sequence[FittedTest], needed: float, direction: Direction) -> Looked:
    """What the tests say of the last interval, from what is stored.

    Complete intervals give what they gave when they were judged. One that was judged while it was filling in was
    compared with what was there by then, which is not kept: it may differ.

    Args:
        judged: the intervals that evidence looks at (`anomaly.detection.forecasts.needed_before`).
        tests: of the variable.
        needed: final evidence from which an interval is anomalous.
        direction: what counts.
    """
    evidence = Evidence([tuple(tests)], step=judged.step, transform=judged.transform)
    series = _series(judged, evidence)
    last = np.array([len(judged.observed) - 1])
    same = evidence.prepared(series.observed, series.expected)
    taken = evidence.take(series, last, same, np.array([judged.loose]))
    signed, best = evidence.together(verdicts.in_direction(taken.found, direction), np.array([judged.turn]))
    divisor = at_turns(tests) if judged.turn else 1.0
    together = next((test.calibration for test in tests if test.test == ANY), IDENTITY)
    said = []
    for test in tests:
        if test.test == ANY:
            continue
        felt, expected = (float(side[0, 0]) for side in taken.sums.get(test.test, (_UNKNOWN, _UNKNOWN)))
        said.append(
            Said(
                test=test.test,
                evidence=float(taken.found[test.test][0, 0]),
                needed=together.inverse(needed) * divisor,
                felt=felt,
                expected=expected,
                lasted=_lasted(test.test, judged.observed),
            )
        )
    return Looked(tuple(said), evidence.names[int(best[0, 0])], float(signed[0, 0]), divisor)


_UNKNOWN = np.full((1, 1), np.nan)


def _series(judged: Judged, evidence: Evidence) -> Series:
    """(1, T) as the walk through time had them when it judged the last interval (`anomaly.detection.forecasts`)."""
    observed, felt, expected = (values[None].copy() for values in (judged.observed, judged.felt, judged.expected))
    felt = months.renewed(observed, felt, (judged.departed - judged.then)[None], judged.transform)
    channels = Channels(
        transforms.forward(months.without(felt, judged.departed, judged.transform), judged.transform),
        judged.starts,
        judged.step,
        judged.zone,
        {BASELINE, OUTLOOK, RATE},
        transform=judged.transform,
        known=felt.shape[1] - 1,
    )
    channels.look(felt.shape[1] - 1)
    ahead = transforms.inverse(channels.outlook(evidence.rare, slice(None)), judged.transform)
    outlook = months.with_them(ahead, judged.departed, judged.transform)
    unsure = judged.special | (judged.perhaps != 0)
    usual = months.with_them(
        transforms.inverse(channels[BASELINE], judged.transform), judged.departed, judged.transform
    )
    season = np.where(unsure | evidence.rare[:, None], outlook, usual)
    if judged.replaced:  # the stand-in came after the verdict
        seen = observed[:, -1]
        felt[:, -1] = np.maximum(seen - expected[:, -1] + outlook[:, -1], 0) if unsure[-1] else seen
    return Series(observed, felt, expected, outlook, season)


def _lasted(test: str, observed: Floats) -> int:
    if test == FROZEN:
        return same_for(observed)
    if test == SILENCE:
        return quiet_for(observed[np.isfinite(observed)])[0]
    return 0


# --- words ------------------------------------------------------------------------------------------------------


def asks(test: str) -> str:
    """What a test looks at, for a reader who has not seen it before."""
    if test.startswith("sum-"):
        return (
            f"the latest {test.removeprefix('sum-')} intervals together, and the newest of them, "
            "against what was expected before the day began"
        )
    return {
        SINGLE: "this interval, against its prediction",
        FROZEN: "the same count again and again",
        SILENCE: "the time since the last write, in expected events",
        LEVEL: "the latest three days together, and the newest of them, against what was expected before each began",
        ANY: "all tests together",
    }.get(test, test)


def number(value: float) -> str:
    """Three digits that matter, with separators and a real minus sign: ``12,300``, ``0.0241``, ``∞``."""
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0 else "\N{MINUS SIGN}∞"
    if value and not 1e-4 <= abs(value) < 1e9:
        written = f"{value:.2e}"
    elif abs(value) >= 100:
        written = f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.0f}"
    else:
        written = f"{value:.3g}"
    return written.replace("-", "\N{MINUS SIGN}")


_NOBODY_CARES = math.log(1e9)


def odds(evidence: float) -> str:
    """``1 in 5,380``: the probability that evidence is -ln of."""
    if abs(evidence) > _NOBODY_CARES:
        return "under 1 in a billion"
    return f"1 in {number(math.exp(abs(evidence)))}"


def family_words(found: TestLimit) -> str:
    """A fitted family with its parameters, and why this one where there was a choice."""
    if found.family in {"counts", "gaps"}:
        return found.reason
    if "-" in found.family:  # families of our own, whose parameters say little by themselves
        return f"{found.family}. {found.reason}"
    if found.family == "repeats":
        _, scale, half = found.parameters
        return (
            f"each repetition as likely as t at scale {number(scale)} lands within ±{number(half)} of the count before"
        )
    *shapes, location, scale = found.parameters
    shape = f"({', '.join(map(number, shapes))})" if shapes else ""
    words = f"{found.family}{shape} at {number(location)}, scale {number(scale)}"
    return f"{words}. {found.reason}" if found.test == SINGLE else words


def calibration_words(knee: float, slope: float, *, together: bool = False) -> str:
    """What the history said of a family's tail."""
    who, whose = ("a test", "a test's") if together else ("the family", "the family's")
    if math.isclose(knee, IDENTITY.knee):
        begins = f"the history is too short or too quiet to contradict {who} on one interval in ten"
    else:
        begins = f"one interval in ten of the history has what {who} calls {odds(knee)} or rarer"
    heavy = "as heavy as" if math.isclose(slope, 1.0, abs_tol=0.005) else f"{slope:.2f} times as heavy as"
    return f"{begins}; beyond, the tail is {heavy} {whose}"


def limit_words(found: TestLimit, step: timedelta, transform: Transform) -> str:
    """Where a test alone makes an interval anomalous."""
    if found.evidence > LARGEST:
        return f"never alone: its family tells nothing apart that is rarer than 1 in {number(math.exp(LARGEST))}"
    if not found.reachable:
        most = FROZEN_REACH if found.test == FROZEN else SILENCE_REACH // step
        return f"never alone at its mean rate, where {most} intervals, all that it looks back, are not enough"
    words = [f"what its family calls {odds(found.evidence)}", *_residuals(found), _amount(found, transform)]
    return "; ".join(filter(None, words))


def _residuals(found: TestLimit) -> list[str]:
    sides = (("below", found.lower), ("above", found.upper))
    told = [f"{words} {number(side)}" for words, side in sides if math.isfinite(side)]
    return [f"a residual {' or '.join(told)}"] if told else []


def _amount(found: TestLimit, transform: Transform) -> str:
    if not math.isnan(found.lasting):
        what = "equal counts in a row" if found.test == FROZEN else "intervals without a write"
        return f"at its mean rate, {math.ceil(found.lasting)} {what}"
    if math.isnan(found.usual):
        return ""
    whole = transform is Transform.ANSCOMBE
    fewest, most = (math.ceil(found.fewest), _floor(found.most)) if whole else (found.fewest, found.most)
    sides = ["none at all" if whole and fewest == 1 else f"fewer than {number(fewest)}"] if fewest > 0 else []
    if math.isfinite(most):
        sides.append(f"more than {number(most)}")
    mean = " (its mean)" if found.length == 1 else ""
    return f"where {number(found.usual)} are expected{mean}, {' or '.join(sides) or 'no count'}"


def _floor(value: float) -> float:
    return math.floor(value) if math.isfinite(value) else value
