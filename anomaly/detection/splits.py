"""Time split of each variable's history: the oldest part trains, the next stops the training, the latest judges.

In: which windows each variable has, (V, N). Out: `Split`, three masks (V, N). Every variable is split by its own
history, so that one that is younger than the group's still has something to learn from; never shuffled across: a
window that trains never lies after one that judges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VALIDATION = 0.15
TEST = 0.15

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint masks (V, N); per variable, all of `train` lies before `validation`, and that before `test`."""

    train: Mask
    validation: Mask
    test: Mask

    @property
    def held_out(self) -> Mask:
        """Validation and test: what the weights were not trained on."""
        return self.validation | self.test

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The split of some of the variables."""
        return Split(self.train[rows], self.validation[rows], self.test[rows])


def split_by_time(usable: Mask, *, validation: float = VALIDATION, test: float = TEST) -> Split:
    """Splits the time from each variable's first usable window to the end; what is not usable is in no part.

    Args:
        usable: (V, N), oldest window first.
        validation: share in (0, 1) of that time.
        test: share in (0, 1); together less than 1.

    Raises:
        ValueError: impossible shares.
    """
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise ValueError(f"found shares {validation} and {test}; expected both above 0 and together below 1")
    windows = usable.shape[1]
    first = np.where(usable.any(axis=1), usable.argmax(axis=1), windows)
    length = windows - first
    judged_from = windows - np.ceil(test * length)
    stopped_from = judged_from - np.ceil(validation * length)
    at = np.arange(windows)
    train = at < stopped_from[:, None]
    judge = at >= judged_from[:, None]
    return Split(usable & train, usable & ~train & ~judge, usable & judge)
