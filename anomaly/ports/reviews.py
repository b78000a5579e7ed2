"""The review of a fit, who decided on it, and who serves from when on; and where all that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly.groups import Group, TimeRange
from anomaly.groups.golden import Golden
from anomaly.ports import Fit, FittedVariable, Floats

Measure = Literal["MAE", "Poisson deviance"]
Decided = Literal["approved", "rejected"]
DecidedVia = Literal["airflow", "mlflow", "cli", "policy"]
ServedVia = Literal["policy", "airflow", "mlflow", "cli", "rollback"]


# --- champion against challenger --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VariableErrors:
    """One variable's errors on the test period, in its measure."""

    variable: str
    measure: Measure
    challenger: float
    champion: float | None
    """None where the champion does not forecast it."""
    baseline: float | None
    """Of the seasonal-naive forecast."""

    @property
    def ratio(self) -> float | None:
        """Challenger / champion; below 1 is better. None without a champion."""
        if self.champion is None:
            return None
        return self.challenger / self.champion if self.champion > 0 else (1.0 if self.challenger == 0 else np.inf)


@dataclass(frozen=True, slots=True)
class Side:
    """The variables of one measure, summed up. MAE and Poisson deviance have different units and are never mixed."""

    measure: Measure
    variables: int
    compared: int
    """Of these, variables that the champion forecasts too."""
    challenger: float
    """Median error over the compared variables, or over all without a champion."""
    champion: float | None
    baseline: float | None
    ratio: float | None
    """Median over the compared variables of challenger / champion."""
    better: int
    worse: int
    """Compared variables whose error is more than a hundredth smaller, or larger."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Forecasts on the test period: in sum by measure, per variable where it matters most."""

    sides: tuple[Side, ...]
    ratio: float | None
    """Median over all compared variables of challenger / champion: a ratio has no unit, so that both measures count."""
    worst: tuple[VariableErrors, ...]
    """The largest ratios, largest first."""
    best: tuple[VariableErrors, ...]


# --- alerts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgedAlert:
    """An incident as one of the two fits would have told it."""

    start: datetime
    end: datetime
    kind: str
    severity: str
    variables: tuple[str, ...]
    """The worst first."""
    observed: float
    expected: float
    """Events of its intervals."""
    return_period_hours: float
    out_of_sample: bool
    """Whether it began where neither fit's networks were trained."""
    chart: str = ""
    """Name of its chart among the review's files; '' without one."""


@dataclass(frozen=True, slots=True)
class AlertDiff:
    """The alerts of both fits over the same counts, from the same past."""

    start: datetime
    end: datetime
    champion: int | None
    """Alerts; None without a champion, and of one that could not be replayed."""
    challenger: int
    kept: int
    """Alerts of the champion that the challenger would tell, too."""
    appearing: tuple[JudgedAlert, ...]
    disappearing: tuple[JudgedAlert, ...]
    fair_from: datetime
    """From here on, neither fit's networks were trained on the counts."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a golden incident."""

    golden: Golden
    challenger: bool | None
    """Whether it was told; None where it cannot be judged, for want of counts."""
    champion: bool | None

    @property
    def lost(self) -> bool:
        """A confirmed incident that the challenger misses and the champion tells."""
        return self.golden.word == "real" and self.challenger is False and self.champion is True

    @property
    def missed(self) -> bool:
        """A confirmed incident that the challenger misses, and nobody can say whether the champion tells it: there is
        none, or it could not be replayed."""
        return self.golden.word == "real" and self.challenger is False and self.champion is None

    @property
    def back(self) -> bool:
        """A known false alarm that the challenger tells, and the champion, as far as is known, does not."""
        return self.golden.word != "real" and self.challenger is True and self.champion is not True


@dataclass(frozen=True, slots=True)
class Review:
    """What there is to know before a challenger serves."""

    fit_id: str
    group: str
    champion: str | None
    """Id of the fit that it would replace; None where nobody serves."""
    champion_version: int | None
    made_at: datetime
    comparison: Comparison
    alerts: AlertDiff
    golden: tuple[Replayed, ...]

    @property
    def unplayed(self) -> bool:
        """Whether a champion serves that could not be replayed, its networks being damaged or gone."""
        return self.champion is not None and self.alerts.champion is None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person said of a challenger."""

    fit_id: str
    word: Decided
    who: str
    via: DecidedVia
    at: datetime
    why: str = ""


@dataclass(frozen=True, slots=True)
class Serving:
    """From an interval on this fit serves, until the group's next serving."""

    group: str
    fit_id: str
    serves_from: datetime
    why: str
    who: str
    via: ServedVia
    at: datetime
    told: bool = False
    """Whether the model registry's alias was moved, too."""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """One look at whether the residuals are still those that the champion's thresholds were made of."""

    group: str
    fit_id: str
    start: datetime
    end: datetime
    variables: int
    """That could be looked at."""
    drifted: tuple[str, ...]
    asked: bool
    """Whether it asks for a fit."""
    said: str
    at: datetime

    def answered_by(self, fits: Iterable[Fit]) -> Fit | None:
        """The first of the fits that has learned, or is learning, from what was looked at; None while none has."""
        return next((fit for fit in fits if fit.history.end >= self.end), None)


class Reviews(Protocol):
    """PostgreSQL. Each write is one transaction; every method may raise `StoreUnavailableError`."""

    def fits(self, group: Group, *, limit: int = 100) -> tuple[Fit, ...]:
        """Latest first; `serves_from` is where each served first."""

    def fit_of_version(self, group: Group, version: int) -> Fit | None: ...

    def save(self, review: Review) -> None:
        """In the place of the fit's earlier review, if any."""

    def review(self, fit_id: str) -> Review | None: ...

    def decide(self, verdict: Verdict) -> Verdict:
        """Keeps it, unless somebody was first; returns the one that holds."""

    def overrule(self, verdict: Verdict) -> Verdict:
        """Keeps it in the place of an earlier one."""

    def verdict(self, fit_id: str) -> Verdict | None: ...

    def serve(self, serving: Serving) -> Serving:
        """From `serves_from` on the whole group is judged by this fit: one transaction, which predict reads from.

        The same fit from the same moment as the group's latest serving changes nothing and returns what is there.
        """

    def told(self, serving: Serving) -> None:
        """Notes that the registry's alias follows."""

    def servings(self, group: Group) -> tuple[Serving, ...]:
        """All, in the order of `serves_from`; of two from the same moment, the later decision last."""

    def save_drift(self, check: DriftCheck) -> None:
        """A second check up to the same moment changes nothing."""

    def drift_checks(self, group: Group, *, limit: int = 100) -> tuple[DriftCheck, ...]:
        """Latest first."""


# --- showing it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """What one fit says of a stretch of a variable. Arrays (N,), in events per interval."""

    predicted: Floats
    lower: Floats
    upper: Floats
    anomalous: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DiffVariable:
    variable: str
    starts: NDArray[np.datetime64]
    observed: Floats
    champion: Judged | None
    challenger: Judged | None
    """None where a fit does not judge the variable."""


@dataclass(frozen=True, slots=True)
class DiffChart:
    """An alert that only one of the two would tell, with what both say."""

    group: Group
    alert: JudgedAlert
    appears: bool
    within: TimeRange
    variables: tuple[DiffVariable, ...]


class ReviewCharts(Protocol):
    """PNG; equal data gives equal bytes."""

    def comparison(self, errors: Sequence[VariableErrors]) -> bytes:
        """Champion against challenger, one dot per variable, both measures apart."""

    def timeline(self, group: Group, review: Review) -> bytes:
        """When alerts appear, disappear and stay."""

    def alert(self, chart: DiffChart) -> bytes:
        """Counts with what both fits expect."""


@dataclass(frozen=True, slots=True)
class ReviewLinks:
    """Addresses that a card points to; None leaves the link out."""

    run: str | None = None
    data_docs: str | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A review as people read it."""

    markdown: str
    html: str
    """One file without references: charts are inside."""
    json: str
    """The review, for programs."""


class CardWriter(Protocol):
    def __call__(
        self,
        group: Group,
        fit: Fit,
        review: Review,
        fitted: Sequence[FittedVariable],
        *,
        findings: Sequence[str],
        charts: Mapping[str, bytes],
        links: ReviewLinks,
    ) -> Card:
        """Model card and report. `findings` are the policy's, the gravest first."""
