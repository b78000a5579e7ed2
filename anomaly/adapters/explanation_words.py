"""The rules behind a variable's thresholds in words: pairs of a name and what there is to say.

In: an `Explanation`. Out: rows for ``anomaly explain`` and for the variable's page, so that both say the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from anomaly.adapters.messages import departure_words, moment_words, return_period_words, span_words
from anomaly.detection.evidence import ANY, at_turns
from anomaly.detection.explanations import (
    Said,
    TestLimit,
    calibration_words,
    family_words,
    limit_words,
    number,
    odds,
)
from anomaly.groups.model import TOTAL, Direction, Transform
from anomaly.stages.explain import Compared, Explanation, Verdict

Rows = Iterator[tuple[str, str]]


def learned_from(found: Explanation) -> Rows:
    """What the fit was made of, and since when it serves."""
    fit, zone = found.fit, found.group.zone
    yield "history", f"{span_words(fit.history.start, fit.history.end, zone)}, {found.intervals:,} intervals counted"
    yield "mean", f"{number(found.rate)} events per interval"
    serves = f"serves from {moment_words(fit.serves_from, zone)} on" if fit.serves_from else "does not serve"
    yield "model", f"version {fit.model_version or 'none'} ({fit.state}), {serves}"
    yield "fit", fit.id
    yield "MLflow run", fit.mlflow_run_id or "none"
    if found.changed:
        keys = ", ".join(found.changed)
        yield "changed since", f"{keys} in {found.group.name}.yaml; what a fit learns takes effect with the next one"


def shared_out(found: Explanation) -> Rows:
    """From the false alerts that the group accepts to the evidence that an interval of this variable needs."""
    own = found.share
    alerts = "false incident" if own.false_alerts_per_week == 1 else "false incidents"
    yield "policy", f"{number(own.false_alerts_per_week)} {alerts} a week in {found.group.slack.channel}"
    if own.part < 1:
        whose = "this is it" if found.variable.name == TOTAL else "the other half is the other variables'"
        yield "the total", f"{own.part:.0%} of it is the total's; {whose}"
    sharing = "" if own.sharing == 1 else f"{own.sharing} variables share it, each with "
    yield (
        "shared out",
        (
            f"{sharing}{number(own.intervals_per_week)} intervals a week: a false incident may begin in 1 in "
            f"{number(1 / own.beginning)} of its own"
        ),
    )
    if own.run > 1:
        yield "runs", f"in its history rare intervals come {own.run:.2g} at a time, and a run is one incident"
    most = " (the most there is)" if own.capped else ""
    yield "so", f"1 in {number(1 / own.probability)}{most} of its intervals may be anomalous by chance"
    if own.direction is not Direction.BOTH:
        yield "direction", f"{own.direction} only, which gets all of it"
    yield (
        "evidence",
        (f"{number(own.limit)} is needed: \N{MINUS SIGN}ln of a two-sided tail probability, here {odds(own.limit)}"),
    )
    yield "as stored", agreement(found.probability)
    if found.said:
        latest, needed = found.said[-1], own.limit - math.log(found.factor)
        since = f"{latest.serves_from.astimezone(found.group.zone):%Y-%m-%d %H:%M %Z}"
        now = "what labels had changed is undone" if found.factor == 1 else f"{1 / found.factor:.3g} times rarer"
        yield "labels", f"{now} since {since}: {latest.reason}; evidence of {number(needed)} ({odds(needed)}) is needed"


def forecast_by(found: Explanation) -> Rows:
    """The candidate it got, and why that one."""
    record = found.record
    yield "status", f"{record.status}: {record.status_reason}"
    if not record.tests:
        yield "not judged", record.choice
        return
    yield "candidate", record.candidate
    # What the sentence says of the errors is in the table below.
    why = record.choice if not record.mae else record.choice.partition("; ")[2] or "the smallest error"
    yield "because", why
    if record.slot:
        file = (
            f"{record.slot}, network {record.position} of {found.network.variables}" if found.network else record.slot
        )
        yield "network", f"{file}, first weights from seed {record.seed}"
        yield (
            "scaler",
            (
                f"{number(record.scaler_minimum)} becomes 0 and {number(record.scaler_maximum)} becomes 1, in the "
                "transform"
            ),
        )
    if record.month_days:
        yield "days of month", month_days_words(record.month_days, found.transform)


def month_days_words(days: Mapping[int, tuple[float, float]], transform: Transform) -> str:
    """Such as ``day 25 +50%, the last perhaps -20%``."""
    words = number if transform is Transform.LINEAR else _share
    said = [
        f"{_day(day)} {'' if least == most else 'perhaps '}{words(most or least)}"
        for day, (least, most) in sorted(days.items(), key=lambda item: (item[0] < 0, item[0]))
    ]
    rest = ", and 'perhaps' for a day that it did not show" if any(a != b for a, b in days.values()) else ""
    return f"{', '.join(said)}: so they were in every month of the history{rest}"


def _share(by: float) -> str:
    return f"{math.expm1(by):+.0%}".replace("-", "\N{MINUS SIGN}")


def _day(day: int) -> str:
    if day == -1:
        return "the last"
    return f"day {day}" if day > 0 else f"{-day - 1} before the last"


def tested_together(found: Explanation) -> Rows:
    """What all tests together are worth."""
    together = next((test.calibration for test in found.record.tests if test.test == ANY), None)
    if together is None:
        return
    needed = together.inverse(found.share.limit)
    yield "all together", f"the strongest evidence of {len(found.limits)} tests counts"
    yield "calibrated", calibration_words(together.knee, together.slope, together=True)
    if at_turns(found.record.tests) != 1:
        yield "turn of month", f"there, evidence is divided by {number(at_turns(found.record.tests))}: it scatters more"
    yield "so", f"evidence of {number(needed)} ({odds(needed)}) from one test is {number(found.share.limit)} from all"


def tested(found: Explanation, limit: TestLimit) -> Rows:
    """Of one test."""
    yield "family", family_words(limit)
    yield "calibrated", calibration_words(limit.knee, limit.slope)
    yield "alarms at", limit_words(limit, found.fit.history.step, found.transform)


def thresholds_stored(found: Explanation) -> Rows:
    """Of single residuals, and whether they follow from the rules."""
    for name, side in (("below", found.lower), ("above", found.upper)):
        what = (
            "no fixed one: it depends on what is expected, or on nobody"
            if math.isinf(side.stored)
            else number(side.stored)
        )
        yield name, what
    agree = found.lower.agrees and found.upper.agrees
    yield "worked out", "agrees" if agree else f"below {agreement(found.lower)}; above {agreement(found.upper)}"


def agreement(numbers: Compared) -> str:
    if numbers.agrees:
        return "agrees"
    return f"differs, {number(numbers.stored)} is stored and {number(numbers.worked_out)} follows"


def said_of(found: Explanation, verdict: Verdict) -> Rows:
    """One interval, as it was judged."""
    yield "observed", departure_words(verdict.observed, verdict.predicted)
    if verdict.counted != verdict.observed:
        yield "counted since", f"{number(verdict.counted)}: rows came late; predict judges it again"
    yield "ordinary", f"{number(verdict.lower)} to {number(verdict.upper)}, as far as this interval alone tells"
    yield "residual", f"{number(verdict.residual)}, in the transform"
    if verdict.special:
        yield (
            "special day",
            f"a holiday ({found.group.holidays}) or beside one: anything that its week has shown is ordinary",
        )
    words = number if found.transform is Transform.LINEAR else _share
    if verdict.day_of_month:
        yield "day of month", f"{words(verdict.day_of_month)} is expected on it, as in every month of the history"
    if verdict.perhaps:
        yield "day of month", f"perhaps {words(verdict.perhaps)}, as on the days beside it: all up to that is ordinary"
    if verdict.looked.divisor != 1:
        yield (
            "turn of month",
            f"evidence is divided by {number(verdict.looked.divisor)}: the history scatters more there",
        )
    if verdict.judged_by != found.fit.id:
        yield "judged by", f"fit {verdict.judged_by}, another than the one explained here"


def what_it_saw(said: Said) -> str:
    """What a test compared."""
    if said.test == "frozen":
        return f"{said.lasted} equal counts in a row" if said.lasted > 1 else "a new count"
    if said.test == "silence":
        return f"{said.lasted} intervals without a write" if said.lasted else "a write"
    if math.isnan(said.felt) or math.isnan(said.expected):
        return "not enough known"
    return departure_words(said.felt, said.expected)


def decided(found: Explanation, verdict: Verdict) -> Rows:
    """How the tests together came to their verdict."""
    looked, needed = verdict.looked, found.share.limit
    enough = abs(looked.evidence) >= needed
    hours = found.group.interval.total_seconds() / 3600 / max(looked.tail_probability, 1e-300)
    yield (
        "decided by",
        verdict.decided + ("" if verdict.decided == looked.decided else f"; worked out again: {looked.decided}"),
    )
    yield (
        "all together",
        (f"evidence {number(looked.evidence)} of {number(needed)} needed; by chance {return_period_words(hours)}"),
    )
    yield "verdict", verdict.kind or _why_normal(enough=enough)
    yield "stored", f"tail probability {number(verdict.tail_probability.stored)}: {agreement(verdict.tail_probability)}"
    if not verdict.tail_probability.agrees and verdict.judged_by == found.fit.id:
        yield (
            "",
            (
                "What was there by then is not kept: the interval was judged while it or one before it was filling in, "
                "or counts, holidays or the policy have changed since"
            ),
        )


def _why_normal(*, enough: bool) -> str:
    if not enough:
        return "normal"
    return "normal: rare enough, but smaller than the policy's floors, or judged while it was filling in"
