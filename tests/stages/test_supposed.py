"""What a fit would have said is what it says live: by the same thresholds, labels and all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.serving import load_forecaster
from anomaly.groups import TimeRange
from anomaly.ports.labels import Adjustment
from anomaly.stages.supposed import Supposed
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, FIRST_FIT, Workplace, regular


def test_what_an_anomaly_was_allowed_follows_from_labels_as_it_does_live(
    make_workplace: Callable[..., Workplace], metadata_database: dict[str, str]
) -> None:
    place = make_workplace(candidates=["seasonal-naive"], lateness="3h")
    counts = regular(FIRST_FIT + DAY, level=40)
    counts[FIRST_FIT + 6 : FIRST_FIT + 18] = 0
    place.count({"a": counts})
    fit = place.reviewed(FIRST_FIT)
    place.decide(fit)
    labels = PostgresLabels(metadata_database)
    begin, moved = START + FIRST_FIT * HOUR, START + (FIRST_FIT + 12) * HOUR
    labels.adjust([Adjustment(place.group.name, "a", moved, 1 / 9, "false alarms")])
    within = TimeRange(begin, begin + DAY * HOUR, HOUR)

    supposed = Supposed(
        place.group,
        fit,
        within,
        store=place.store,
        artifacts=place.artifacts,
        forecaster=load_forecaster,
        labels=labels,
        now=START,
    )

    allowed = {a.start: a.allowed for a in supposed._store.anomalies}
    before, after = (next(p for start, p in allowed.items() if (start >= moved) is late) for late in (False, True))
    assert after == pytest.approx(before / 9)
