"""Whether a challenger serves, and from which interval on.

In: a registered fit, and the fit that it would replace. Out: `Decision`. Three things speak against a challenger: it
judges less than the one before, it forecasts worse, or it knows less of the present than who serves there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from anomaly.detection.choosing import CHAMPION
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit, FittedVariable, Store
from anomaly.stages.records import CHOSEN

PROMOTION_MARGIN = 0.02
"""A challenger whose median test error is worse than the champion's by more than this share is rejected."""
LOST_SHARE = 0.05
"""A challenger that leaves more than this share of the champion's variables without judgement is rejected."""
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Decision:
    """`serves_from` is None for a challenger that is rejected."""

    serves_from: datetime | None
    reason: str


def decide(group: Group, fit: Fit, store: Store) -> Decision:
    """What becomes of a registered fit.

    It serves from the end of its history, or, where those intervals are judged already, from the first one that is
    not: a verdict that was told stays what a later run of the same range gives.
    """
    serves_from = _first_not_judged(group, fit, store)
    replaced = _serving_at(group, fit, serves_from, store)
    if replaced is not None and replaced.history.end > fit.history.end:
        return Decision(
            None,
            f"it learned from {fit.history}; all that it could serve is judged already, and from "
            f"{serves_from.isoformat()} on version {replaced.model_version} serves, which learned from "
            f"{replaced.history}",
        )
    fitted = store.fitted(fit.id)
    if replaced is not None:
        loss = _loss(group, store.fitted(replaced.id), fitted)
        if loss:
            return Decision(None, f"{loss} version {replaced.model_version} serves on")
    good_enough, reason = _comparison(fitted)
    return Decision(serves_from if good_enough else None, reason)


def _first_not_judged(group: Group, fit: Fit, store: Store) -> datetime:
    """The end of the history, unless somebody serves there and has judged what follows."""
    judged = store.predicted_until(group)
    if judged is None or judged < fit.history.end or _serving_at(group, fit, fit.history.end, store) is None:
        return fit.history.end
    return group.floor(judged + group.interval)


def _serving_at(group: Group, fit: Fit, moment: datetime, store: Store) -> Fit | None:
    """Which other fit serves the interval that begins at this moment."""
    within = TimeRange(moment, moment + fit.history.step, fit.history.step)
    serving = [other for other in store.champions(group, within) if other.id != fit.id]
    return serving[-1] if serving else None


def _loss(group: Group, before: Sequence[FittedVariable], after: Sequence[FittedVariable]) -> str:
    """What speaks against a challenger that judges less; '' when it does not. Variables that left do not count."""
    judged = {f.variable.name for f in before if f.distribution and group.watches(f.variable.name)}
    reasons = {f.variable.name: f.choice for f in after}
    lost = sorted(judged - {f.variable.name for f in after if f.distribution})
    if len(lost) <= LOST_SHARE * len(judged):
        return ""
    named = "; ".join(f"{name}: {reasons.get(name, 'not in the fit')}" for name in lost[:_NAMED])
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return (
        f"it does not judge {len(lost)} of the {len(judged)} variables that the champion judges, more than "
        f"{LOST_SHARE:.0%} ({named}{more});"
    )


def _comparison(fitted: Sequence[FittedVariable]) -> tuple[bool, str]:
    both = [f.mae for f in fitted if CHAMPION in f.mae and CHOSEN in f.mae]
    if not both:
        return True, "there is no champion that forecasts its variables"
    challenger = float(np.median([mae[CHOSEN] for mae in both]))
    champion = float(np.median([mae[CHAMPION] for mae in both]))
    good_enough = challenger <= champion * (1 + PROMOTION_MARGIN)
    return good_enough, (
        f"its median test MAE over {len(both)} variables is {challenger:.3f}, the champion's {champion:.3f}; "
        f"{'within' if good_enough else 'worse than'} the margin of {PROMOTION_MARGIN:.0%}"
    )
