"""Under what an interval is judged, noted so that `anomaly reproduce` can derive the judgement again.

In: a group and a range that is being judged. Out: one `Judgement` per interval. The counts are kept beside the
predictions, the network's files under their digests, the fit in its own tables; what is noted here is the rest: the
group's file, what labels had changed, how counts were known to fill in, and the libraries that did the sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.completeness import Filling, punctual
from anomaly.groups import Group
from anomaly.ports import Variable
from anomaly.ports.judgements import Circumstances, Content, Judgement

LIBRARIES = ("anomaly", "numpy", "onnxruntime", "scipy")
"""Those that take part in a judgement."""


def judgements(
    group: Group,
    starts: Sequence[datetime],
    ages: NDArray[np.int64],
    *,
    fit_id: str,
    variables: Sequence[Variable],
    filling: Filling | None,
    adjustments: Mapping[str, float],
    at: datetime,
) -> list[Judgement]:
    """What there is to note of intervals that are judged together.

    Args:
        group: as its file is now.
        starts: (N,) aware.
        ages: (N,) at which the counts were taken, in whole intervals; -1 for complete.
        fit_id: of the champion.
        variables: (V,) those that it judges.
        filling: of these, as it is known now; used only where an age is not -1.
        adjustments: by variable, the factor on the probability behind its thresholds; those that are not 1.
        at: now.
    """
    under = Circumstances(
        configuration=group.model_dump(mode="json"),
        adjustments={name: float(factor) for name, factor in sorted(adjustments.items())},
        filling={} if filling is None or _complete(ages, filling) else _filling_content(variables, filling),
        software=dict(software()),
    )
    return [Judgement(start, at, fit_id, int(age), under) for start, age in zip(starts, ages, strict=True)]


@cache
def software() -> Mapping[str, str]:
    """Version of each library that takes part."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout on the path, never installed
            found[name] = "not installed"
    return found


def filling_from(content: Content, variables: Sequence[Variable], ages: int) -> Filling:
    """(V, A) as it was noted; complete for variables of which nothing was."""
    filling = punctual(len(variables), ages)
    for row, variable in enumerate(variables):
        noted = content.get(variable.name)
        if noted is not None:
            known = min(ages, len(noted["filled"]))
            filling.filled[row, :known] = noted["filled"][:known]
            filling.scatter[row, :known] = noted["scatter"][:known]
            filling.intervals[row] = noted["intervals"]
    return filling


def _complete(ages: NDArray[np.int64], filling: Filling) -> bool:
    """Whether every interval was: at the oldest age, everything is there."""
    return bool(((ages < 0) | (ages >= filling.filled.shape[1] - 1)).all())


def _filling_content(variables: Sequence[Variable], filling: Filling) -> Content:
    return {
        variable.name: {"filled": filled, "scatter": scatter, "intervals": intervals}
        for variable, filled, scatter, intervals in zip(
            variables, filling.filled.tolist(), filling.scatter.tolist(), filling.intervals.tolist(), strict=True
        )
    }
