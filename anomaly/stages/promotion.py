"""Whether a challenger serves, and from which interval on.

In: a registered fit, the fit that it would replace, its review, and what a person said of it. Out: `Decision`. Five
things speak against a challenger: it knows less of the present than who serves there, it judges less, it forecasts
worse, it loses a confirmed incident, or (where the group's policy says so) it brings a known false alarm back. A
person who approves it has seen the second, third and fifth, and overrules them; a lost incident and a newer champion
stay in the way, until somebody promotes the version by its number.

One can only lose what one has. Without a champion, a confirmed incident that the first fit does not find is a finding
for whoever reviews it, and no more: nothing that serves would find it instead. A champion that serves and cannot be
replayed, its networks being damaged or gone, may have found it: then it counts as worse errors do.

Errors are compared per variable, as ratios: rare variables are measured by Poisson deviance and all others by mean
absolute error in the transform, and a median over both would be a number without a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from anomaly.detection.choosing import CHAMPION, MARGIN
from anomaly.groups import Group, TimeRange
from anomaly.groups.golden import Golden
from anomaly.groups.model import FalseAlarms, PromotionMode
from anomaly.ports import Fit, FittedVariable, Store
from anomaly.ports.reviews import Comparison, Measure, Review, Side, VariableErrors, Verdict
from anomaly.stages.records import CHOSEN, measure_of

BASELINE = "seasonal-naive"
SHOWN = 10
"""Variables with the largest ratio, and with the smallest, that a review names."""
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Decision:
    """`serves_from` is None for a challenger that is rejected, or `waits`."""

    serves_from: datetime | None
    reason: str
    waits: bool = False
    """For a person's word."""


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against a challenger."""

    said: str
    final: bool
    """Whether it stands even when somebody approves."""
    blocks: bool = True
    """Whether a fit is rejected for it where nobody reviews; otherwise it serves, and this is said of it."""


def decide(
    group: Group, fit: Fit, store: Store, *, review: Review | None = None, verdict: Verdict | None = None
) -> Decision:
    """What becomes of a registered fit.

    It serves from the end of its history, or, where those intervals are judged already, from the first one that is
    not: a verdict that was told stays what a later run of the same range gives.

    Args:
        review: of this fit; without it, nothing is known of alerts and golden incidents.
        verdict: what a person said, if anybody has.
    """
    serves_from = first_not_judged(group, fit, store)
    against = objections(group, fit, store, review)
    if verdict is not None and verdict.word == "rejected":
        return Decision(None, f"{_said_by(verdict, 'rejected')}")
    approved = verdict is not None
    standing = [o for o in against if o.final or not approved]
    blocking = [o for o in standing if o.final or (group.promotion.mode is PromotionMode.AUTOMATIC and o.blocks)]
    if blocking:
        return Decision(None, "; ".join(o.said for o in blocking))
    if verdict is not None:
        return Decision(serves_from, _said_by(verdict, "approved"))
    noted = f"; it {'; it '.join(_plain(o.said) for o in standing)}" if standing else ""
    if group.promotion.mode is PromotionMode.REVIEWED:
        return Decision(None, f"it waits for a review{noted}", waits=True)
    return Decision(serves_from, f"{in_sum(compared(store.fitted(fit.id)), group)}{noted}")


def objections(group: Group, fit: Fit, store: Store, review: Review | None) -> tuple[Objection, ...]:
    """What speaks against a challenger, the gravest first."""
    found = []
    serves_from = first_not_judged(group, fit, store)
    replaced = serving_at(group, fit, serves_from, store)
    if replaced is not None and replaced.history.end > fit.history.end:
        found.append(
            Objection(
                f"it learned from {fit.history}; all that it could serve is judged already, and from "
                f"{serves_from.isoformat()} on version {replaced.model_version} serves, which learned from "
                f"{replaced.history}",
                final=True,
            )
        )
    lost = lost_incidents(review) if review else ""
    if lost:
        found.append(Objection(lost, final=True))
    if review and review.unplayed:
        found += _missed(review)
    fitted = store.fitted(fit.id)
    if replaced is not None:
        loss = _loss(group, store.fitted(replaced.id), fitted)
        if loss:
            found.append(Objection(f"{loss} version {replaced.model_version} serves on", final=False))
    comparison = compared(fitted)
    if comparison.ratio is not None and comparison.ratio > 1 + group.promotion.margin:
        found.append(Objection(in_sum(comparison, group), final=False))
    back = [g.golden for g in review.golden if g.back] if review else []
    if back and group.promotion.golden_false_alarms is FalseAlarms.BLOCK:
        said = f"it brings {len(back)} known {_alarms(len(back))} back"
        found.append(Objection(said, final=False, blocks=review is not None and review.champion is not None))
    if review and not review.unplayed:
        found += _missed(review)
    return tuple(found)


def _missed(review: Review) -> list[Objection]:
    """Confirmed incidents that a challenger does not find, where what the champion would tell is not known."""
    missed = [g.golden for g in review.golden if g.missed]
    if not missed:
        return []
    nobody = "there is no champion that would"
    unplayed = f"whether the champion, version {review.champion_version}, would is unknown: it could not be replayed"
    said = f"it does not find {_of_the_golden_file(missed)}; {unplayed if review.unplayed else nobody}"
    return [Objection(said, final=False, blocks=review.unplayed)]


def lost_incidents(review: Review) -> str:
    """Which confirmed incidents a challenger loses, in words; '' when it loses none."""
    lost = [g.golden for g in review.golden if g.lost]
    return f"it loses {_of_the_golden_file(lost)}" if lost else ""


def _of_the_golden_file(incidents: Sequence[Golden]) -> str:
    first = incidents[0]
    return (
        f"{len(incidents)} confirmed {_incidents(len(incidents))} of the golden file, the first of "
        f"{first.start.astimezone(UTC):%Y-%m-%d %H:%M} UTC ({', '.join(first.variables[:_NAMED])})"
    )


def first_not_judged(group: Group, fit: Fit, store: Store) -> datetime:
    """The end of the history, unless somebody serves there and has judged what follows."""
    judged = store.predicted_until(group)
    if judged is None or judged < fit.history.end or serving_at(group, fit, fit.history.end, store) is None:
        return fit.history.end
    return group.floor(judged + group.interval)


def serving_at(group: Group, fit: Fit, moment: datetime, store: Store) -> Fit | None:
    """Which other fit serves the interval that begins at this moment."""
    within = TimeRange(moment, moment + fit.history.step, fit.history.step)
    serving = [other for other in store.champions(group, within) if other.id != fit.id]
    return serving[-1] if serving else None


# --- forecasts --------------------------------------------------------------------------------------------------


def compared(fitted: Sequence[FittedVariable]) -> Comparison:
    """Errors on the test period against the champion's, both as the fit measured them."""
    errors = [
        VariableErrors(f.variable.name, measure_of(f), f.mae[CHOSEN], f.mae.get(CHAMPION), f.mae.get(BASELINE))
        for f in fitted
        if CHOSEN in f.mae
    ]
    measures: tuple[Measure, ...] = ("MAE", "Poisson deviance")
    sides = tuple(_side(measure, own) for measure in measures if (own := [e for e in errors if e.measure == measure]))
    both = sorted((e for e in errors if e.ratio is not None), key=lambda e: (e.ratio or 0.0, e.variable))
    changed = [e for e in both if abs((e.ratio or 1.0) - 1) > MARGIN]
    return Comparison(
        sides=sides,
        ratio=_median([e.ratio for e in both if e.ratio is not None]),
        worst=tuple(e for e in reversed(changed[-SHOWN:]) if (e.ratio or 0.0) > 1),
        best=tuple(e for e in changed[:SHOWN] if (e.ratio or 0.0) < 1),
    )


def _side(measure: Measure, errors: Sequence[VariableErrors]) -> Side:
    both = [e for e in errors if e.champion is not None]
    shown = both or errors
    ratios = [e.ratio for e in both if e.ratio is not None]
    return Side(
        measure=measure,
        variables=len(errors),
        compared=len(both),
        challenger=_median([e.challenger for e in shown]) or 0.0,
        champion=_median([e.champion for e in both if e.champion is not None]),
        baseline=_median([e.baseline for e in shown if e.baseline is not None]),
        ratio=_median(ratios),
        better=sum(r < 1 - MARGIN for r in ratios),
        worse=sum(r > 1 + MARGIN for r in ratios),
    )


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def in_sum(comparison: Comparison, group: Group) -> str:
    """The comparison in a sentence."""
    if comparison.ratio is None:
        return "no champion's forecasts of its variables are there to compare with"
    good_enough = comparison.ratio <= 1 + group.promotion.margin
    medians = ", ".join(
        f"{side.measure} {side.challenger:.3f} against {side.champion:.3f} over {side.compared}"
        for side in comparison.sides
        if side.champion is not None
    )
    return (
        f"its test errors are {comparison.ratio:.3f} times the champion's in the median over the variables "
        f"({medians}); {'within' if good_enough else 'worse than'} the margin of {group.promotion.margin:.0%}"
    )


def _loss(group: Group, before: Sequence[FittedVariable], after: Sequence[FittedVariable]) -> str:
    """What speaks against a challenger that judges less; '' when it does not. Variables that left do not count."""
    judged = {f.variable.name for f in before if f.distribution and group.watches(f.variable.name)}
    reasons = {f.variable.name: f.choice for f in after}
    lost = sorted(judged - {f.variable.name for f in after if f.distribution})
    if len(lost) <= group.promotion.lost_variables * len(judged):
        return ""
    named = "; ".join(f"{name}: {reasons.get(name, 'not in the fit')}" for name in lost[:_NAMED])
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return (
        f"it does not judge {len(lost)} of the {len(judged)} variables that the champion judges, more than "
        f"{group.promotion.lost_variables:.0%} ({named}{more});"
    )


# --- words ------------------------------------------------------------------------------------------------------


def _said_by(verdict: Verdict, word: str) -> str:
    return f"{verdict.who} {word} it ({verdict.via})" + (f": {verdict.why}" if verdict.why else "")


def _plain(said: str) -> str:
    return said.removeprefix("it ")


def _incidents(number: int) -> str:
    return "incident" if number == 1 else "incidents"


def _alarms(number: int) -> str:
    return "false alarm" if number == 1 else "false alarms"
