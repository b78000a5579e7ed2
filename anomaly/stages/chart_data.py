"""What an incident's chart shows, from the metadata alone: its worst variables, before, during and after."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from anomaly.detection.incidents import Incident
from anomaly.groups import Group, TimeRange
from anomaly.ports import ChartData, ChartVariable, FittedVariable, Store

CHART_VARIABLES = 4
CHART_BEFORE = timedelta(days=4)
CHART_AFTER = timedelta(days=1)


def chart_data(group: Group, incident: Incident, store: Store) -> ChartData:
    """What an incident's chart shows, from the metadata alone."""
    latest = store.predicted_until(group) or incident.end
    shown = TimeRange(
        max(group.floor(incident.start - CHART_BEFORE), group.first_interval()),
        max(min(group.floor(incident.end + CHART_AFTER), latest + group.interval), incident.end),
        group.interval,
    )
    by_name = {v.name: v for v in store.variables(group, left_out=True)}
    names = [part.variable for part in incident.variables if part.variable in by_name][:CHART_VARIABLES]
    variables = [by_name[name] for name in names]
    counts = store.read_counts(group, variables, shown).counts
    predictions = store.read_predictions(group, variables, shown)
    fitted: dict[str, FittedVariable] = {}
    # The first that judged the incident: a later one has other thresholds.
    for fit in store.champions(group, group.range(incident.start, incident.end))[:1]:
        fitted = {f.variable.name: f for f in store.fitted(fit.id, residuals=True, names=names) if f.distribution}

    unknown = np.full(counts.shape, np.nan)
    parts = []
    for row, name in enumerate(names):
        judged = fitted.get(name)
        p = predictions
        parts.append(
            ChartVariable(
                variable=name,
                starts=shown.starts(),
                observed=counts[row],
                predicted=p.predicted[row] if p else unknown[row],
                lower=p.lower[row] if p else unknown[row],
                upper=p.upper[row] if p else unknown[row],
                residuals=p.residuals[row] if p else unknown[row],
                anomalous=p.kinds[row] != "" if p else np.zeros(len(shown), dtype=bool),
                fitted_residuals=judged.residuals.astype(np.float64) if judged else np.empty(0),
                distribution=judged.distribution if judged else "",
                parameters=judged.parameters if judged else (),
                residual_lower=judged.lower if judged else float("-inf"),
                residual_upper=judged.upper if judged else float("inf"),
            )
        )
    return ChartData(group=group, incident=incident, variables=tuple(parts))
