"""Young intervals in a walk: what they count as for the tests, and whether they are judged yet.

In: how the variables fill in (`anomaly.detection.completeness`), the age of each interval's count, and the
thresholds of complete intervals. Out, per interval of the walk: what to expect of it by now, what it is felt as, and
where it has to wait. Complete intervals pass through untouched, to the last bit.

*Regular* variables, which have thresholds on residuals, are felt as the complete count that would be as surprising.
*Rare* ones are tested by the distribution of their counts, which thinning leaves in its family with a smaller mean
(Poisson stays Poisson; a negative binomial keeps its excess scatter): there, the expectation is made smaller instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import completeness, transforms
from anomaly.detection.completeness import Filling
from anomaly.groups.model import Transform

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Young:
    """V variables over the N intervals of a walk.

    Args:
        filling: of the variables; None when every count is complete.
        ages: (N,) at which the counts were taken, in whole intervals; -1 for complete.
        lower, upper: (V,) thresholds on residuals of complete intervals, in the transform, whatever direction people
            asked for; both infinite for rare variables.
        surprise: (V,) evidence behind the thresholds, -ln of the two-sided tail probability.
        transform: the space of residuals.
    """

    def __init__(
        self,
        filling: Filling | None,
        ages: NDArray[np.int64],
        *,
        lower: Floats,
        upper: Floats,
        surprise: Floats,
        transform: Transform,
    ) -> None:
        from scipy.special import ndtri_exp

        known = filling or completeness.punctual(len(lower), 1)
        self._filled, self._scatter = completeness.at_ages(known, ages)
        self._young: Mask = (self._filled < 1) | (self._scatter > 0)
        self._any: Mask = np.asarray(self._young.any(axis=0))
        self._lower, self._upper, self._transform = lower, upper, transform
        self._deviations = np.maximum(-ndtri_exp(-np.maximum(surprise, np.log(2)) - np.log(2)), 1.0)
        self._rare = np.isinf(lower) & np.isinf(upper)

    def rows(self, part: slice) -> Mask:
        """(V, n) whose counts are young."""
        return self._young[:, part]

    def any(self, part: slice) -> Mask:
        """(n,) whether there are such counts."""
        return self._any[part]

    def expected(self, n: int, predicted: Floats) -> Floats:
        """(V,) events that the tests compare with, of those predicted for the complete interval."""
        if not self._any[n]:
            return predicted
        return np.where(self._rare, completeness.expectation(predicted, self._filled[:, n]), predicted)

    def felt(self, n: int, observed: Floats, predicted: Floats) -> Floats:
        """(V,) what the tests take the count for."""
        if not self._any[n]:
            return observed
        brought = completeness.felt(
            observed,
            predicted,
            self._filled[:, n],
            self._scatter[:, n],
            lower=self._lower,
            upper=self._upper,
            deviations=self._deviations,
            transform=self._transform,
        )
        return np.where(self._rare, observed, brought)

    def whole(self, n: int, felt: Floats, predicted: Floats) -> Floats:
        """(V,) what is felt, brought to the measure of complete intervals: what later windows see."""
        if not self._any[n]:
            return felt
        return np.where(self._rare, completeness.completed(felt, predicted, self._filled[:, n]), felt)

    def waits(self, n: int, predicted: Floats) -> Mask:
        """(V,) of which nothing can be said yet, because even silence would be ordinary at this age. What is too much
        already is so at any age."""
        if not self._any[n]:
            return np.zeros(len(predicted), dtype=bool)
        low, _ = self._thresholds(predicted[:, None], slice(n, n + 1))
        judged = completeness.judgeable(predicted, self._filled[:, n], low[:, 0], self._lower, self._transform)
        return ~judged & np.isfinite(predicted)

    def bounds(self, predicted: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Counts (V, N) between which intervals are ordinary at their age.

        Args:
            predicted: (V, N) events in complete intervals.
            low, high: (V, N) the bounds around what is expected by now, as if it were all; those of rare variables
                and of complete intervals are returned, and so are those that nobody asked for.
        """
        if not self._any.any():
            return low, high
        young_lower, young_upper = self._thresholds(predicted, slice(None))
        expected = transforms.forward(completeness.expectation(predicted, self._filled), self._transform)
        young = self._young & ~self._rare[:, None] & np.isfinite(predicted)
        lower = np.where(young & (low > 0), transforms.inverse(expected + young_lower, self._transform), low)
        upper = np.where(young & np.isfinite(high), transforms.inverse(expected + young_upper, self._transform), high)
        return lower, upper

    def now(self, predicted: Floats) -> Floats:
        """(V, N) events to expect by now, of those predicted for complete intervals."""
        return completeness.expectation(predicted, self._filled)

    def _thresholds(self, predicted: Floats, part: slice) -> tuple[Floats, Floats]:
        return completeness.thresholds(
            predicted,
            self._filled[:, part],
            self._scatter[:, part],
            lower=self._lower[:, None],
            upper=self._upper[:, None],
            deviations=self._deviations[:, None],
            transform=self._transform,
        )
