"""The verdict on each interval: normal, or a kind of anomaly.

In: what was observed and predicted, the residuals, each variable's thresholds and the group's policy. Out: the
kind per variable and interval, '' for normal.

==========  ==================================================================
kind        means
==========  ==================================================================
``drop``    fewer events than the lower threshold allows
``silent``  the same, and not a single event
``surge``   more events than the upper threshold allows
==========  ==================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.groups.model import Threshold

Floats = NDArray[np.float64]
KIND = "<U16"


def judge(
    observed: Floats, predicted: Floats, residuals: Floats, lower: Floats, upper: Floats, policy: Threshold
) -> NDArray[np.str_]:
    """Kinds, of the shape that the arguments broadcast to.

    Args:
        observed: events per interval.
        predicted: events per interval; NaN is never an anomaly.
        residuals: observed - predicted in the group's transform.
        lower: residuals below this are too low; -inf for never.
        upper: residuals above this are too high; inf for never.
        policy: its floors are applied; its direction is already in the thresholds.
    """
    distance = np.abs(observed - predicted)
    counts = (distance >= policy.min_absolute) & (distance >= policy.min_relative * predicted)
    below, above = counts & (residuals < lower), counts & (residuals > upper)
    return np.select([below & (observed == 0), below, above], ["silent", "drop", "surge"], default="").astype(KIND)
