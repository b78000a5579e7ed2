"""Charts of a review as PNG: champion against challenger, when alerts differ, and each alert that differs.

In: a review and what both fits say of the counts. Out: pictures for the model version's page, its report and the
approval task. Both fits keep their colours throughout: the champion is blue, the challenger orange, counts are black.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anomaly.adapters.charts import (
    _ANOMALY,
    _BAND,
    _INK,
    _LINE,
    _OBSERVED,
    _PREDICTED,
    _QUIET,
    LEFT,
    RIGHT,
    WIDTH,
    _days,
    _figure,
    _panel,
    _png,
    _shown,
    _step,
    _style,
    _ticks,
    _title,
)
from anomaly.adapters.messages import number_words, return_period_words, span_words
from anomaly.groups import Group
from anomaly.groups.intervals import to_datetime64
from anomaly.ports.reviews import DiffChart, DiffVariable, Judged, Review, VariableErrors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHAMPION_COLOUR, CHALLENGER_COLOUR = _PREDICTED, _ANOMALY
_CHALLENGER_BAND = "#fbe3d3"
_MEASURES = {
    "MAE": "mean absolute error, in the transform",
    "Poisson deviance": "Poisson deviance, rare variables",
}


def comparison(errors: Sequence[VariableErrors]) -> bytes:
    """Champion's error against challenger's on the test period, one dot per variable; both measures apart.

    Where there is no champion, the seasonal-naive forecast stands in its place.
    """
    compared = any(e.champion is not None for e in errors)
    before = "champion" if compared else "seasonal-naive forecast"
    with _style():
        shown = [m for m in _MEASURES if any(e.measure == m for e in errors)] or ["MAE"]
        size = 2.75
        figure = _figure(size + 1.62)
        _title(
            figure, f"Challenger against {before}", "test errors, one dot per variable; below the line the new one wins"
        )
        for at, measure in enumerate(shown):
            axes = _panel(figure, LEFT + 0.15 + at * (size + 0.75), 0.95, size, size)
            pairs = [
                (old, e.challenger)
                for e in errors
                if e.measure == measure and (old := e.champion if compared else e.baseline) is not None
            ]
            _scatter(axes, np.array(pairs).reshape(-1, 2), before, measure)
        return _png(figure)


def _scatter(axes: Axes, pairs: np.ndarray[tuple[int, int], np.dtype[np.float64]], before: str, measure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    known = pairs[(pairs > 0).all(axis=1)]
    if not len(known):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, f"no variable has a {before}", transform=axes.transAxes, ha="center", color=_QUIET)
        return
    high = known.max() * 1.08
    axes.plot([0, high], [0, high], color=_QUIET, linewidth=0.9, zorder=1)
    ratio = known[:, 1] / known[:, 0]
    colours = np.where(ratio > 1.01, CHALLENGER_COLOUR, np.where(ratio < 0.99, CHAMPION_COLOUR, _QUIET))
    axes.scatter(known[:, 0], known[:, 1], c=list(colours), s=18, alpha=0.6, linewidths=0, zorder=2)
    axes.set_xlim(0, high)
    axes.set_ylim(0, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.grid(color=_LINE, linewidth=0.5)
    axes.set_xlabel(f"{before}: {_MEASURES[measure]}", fontsize=8)
    axes.set_ylabel("challenger", fontsize=8)
    better, worse = int((ratio < 0.99).sum()), int((ratio > 1.01).sum())
    axes.text(0.97, 0.04, f"{better} better", transform=axes.transAxes, ha="right", color=CHAMPION_COLOUR, fontsize=9)
    axes.text(0.04, 0.93, f"{worse} worse", transform=axes.transAxes, color=CHALLENGER_COLOUR, fontsize=9)


def timeline(group: Group, review: Review) -> bytes:
    """When alerts would appear and disappear, over the weeks that both judged."""
    alerts = review.alerts
    with _style():
        figure = _figure(2.35)
        alone = "the champion could not be replayed" if review.unplayed else "there is no champion to compare with"
        kept = f"{alerts.kept} stay" if alerts.champion is not None else alone
        _title(
            figure,
            f"{len(alerts.appearing)} appear, {len(alerts.disappearing)} disappear",
            f"{kept}; {span_words(alerts.start, alerts.end, group.zone)}",
        )
        axes = _panel(figure, LEFT + 0.45, 0.92, WIDTH - LEFT - 0.45 - RIGHT, 0.95)
        begin, end, fair = (
            float(_days(np.array([to_datetime64(moment)]))[0])
            for moment in (alerts.start, alerts.end, alerts.fair_from)
        )
        axes.axvspan(begin, fair, color="#f3f5f7", linewidth=0)
        if fair - begin > 0.12 * (end - begin):
            axes.text(begin + 0.006 * (end - begin), 1.38, "trained on by one of them", color=_QUIET, fontsize=8)
        for lane, (listed, colour) in enumerate(
            ((alerts.appearing, CHALLENGER_COLOUR), (alerts.disappearing, CHAMPION_COLOUR))
        ):
            for alert in listed:
                left, right = (
                    float(_days(np.array([to_datetime64(moment)]))[0]) for moment in (alert.start, alert.end)
                )
                width = max(right - left, 0.006 * (end - begin))
                axes.barh(lane, width, left=left, height=0.5, color=colour, linewidth=0)
        axes.set_yticks([0, 1], ["appear", "disappear"], color=_INK)
        axes.set_ylim(1.65, -0.6)
        axes.set_xlim(begin, end)
        ticks = _ticks(begin, end, group.zone, at_most=8)
        axes.set_xticks([tick for tick, _ in ticks], [label for _, label in ticks])
        return _png(figure)


def alert(chart: DiffChart) -> bytes:
    """Counts with what both fits expect and bear, for the worst variables of an alert that only one would tell."""
    told = chart.alert
    with _style():
        height, gap, top = 1.35, 0.52, 1.0
        rows = max(1, len(chart.variables))
        figure = _figure(top + rows * height + (rows - 1) * gap + 0.62)
        _title(
            figure,
            f"{'Appears' if chart.appears else 'Disappears'}: {told.kind}, {_shown(told.variables[0], 30)}"
            + (f" and {len(told.variables) - 1} more" if len(told.variables) > 1 else ""),
            f"{span_words(told.start, told.end, chart.group.zone)}; {number_words(told.observed)} events, "
            f"{number_words(told.expected)} expected; {return_period_words(told.return_period_hours)}",
        )
        for at, variable in enumerate(chart.variables):
            axes = _panel(figure, LEFT, top + at * (height + gap), WIDTH - LEFT - RIGHT, height)
            _both(axes, variable, chart)
        total = figure.get_figheight()
        for text, colour, x in (
            ("counted", _OBSERVED, LEFT),
            ("champion expects", CHAMPION_COLOUR, LEFT + 0.75),
            ("challenger expects", CHALLENGER_COLOUR, LEFT + 2.05),
            ("shaded: what each accepts; dots: what it does not", _QUIET, LEFT + 3.4),
        ):
            figure.text(x / WIDTH, 0.14 / total, text, color=colour, fontsize=8.5)
        return _png(figure)


def _both(axes: Axes, variable: DiffVariable, chart: DiffChart) -> None:
    days = _days(variable.starts)
    step = _step(days)
    middles = days + step / 2
    span = [float(_days(np.array([to_datetime64(m)]))[0]) for m in (chart.alert.start, chart.alert.end)]
    axes.axvspan(*span, color="#fff4cf", linewidth=0, zorder=0)
    for judged, colour, band in (
        (variable.champion, CHAMPION_COLOUR, _BAND),
        (variable.challenger, CHALLENGER_COLOUR, _CHALLENGER_BAND),
    ):
        if judged is not None:
            _one(axes, middles, variable, judged, colour, band)
    axes.plot(middles, variable.observed, color=_OBSERVED, linewidth=1.0, zorder=4)
    highest = np.nanmax(
        [
            np.nanmax(values, initial=1.0)
            for values in (
                variable.observed,
                *(j.predicted for j in (variable.champion, variable.challenger) if j is not None),
            )
        ]
    )
    axes.set_ylim(-0.06 * highest, 1.22 * highest)
    axes.set_xlim(float(days[0]), float(days[-1]) + step)
    ticks = _ticks(float(days[0]), float(days[-1]) + step, chart.group.zone, at_most=7)
    axes.set_xticks([tick for tick, _ in ticks], [label for _, label in ticks])
    axes.grid(axis="y", color=_LINE, linewidth=0.5)
    axes.set_title(_shown(variable.variable, 60), loc="left", fontsize=9.5, color=_INK, pad=3)


def _one(
    axes: Axes,
    middles: np.ndarray[tuple[int], np.dtype[np.float64]],
    variable: DiffVariable,
    judged: Judged,
    colour: str,
    band: str,
) -> None:
    low, high = (np.where(np.isfinite(side), side, np.nan) for side in (judged.lower, judged.upper))
    high = np.where(np.isnan(high) & np.isfinite(judged.predicted), 1e9, high)
    low = np.where(np.isnan(low) & np.isfinite(judged.predicted), 0.0, low)
    axes.fill_between(middles, low, high, color=band, alpha=0.55, linewidth=0, zorder=1)
    # The champion's line is wider, so that it is seen below the challenger's where both say the same.
    wide = 2.6 if colour == CHAMPION_COLOUR else 1.1
    axes.plot(middles, judged.predicted, color=colour, linewidth=wide, alpha=0.85, zorder=3)
    axes.plot(
        middles[judged.anomalous], variable.observed[judged.anomalous], "o", color=colour,
        markersize=6.5 if colour == CHAMPION_COLOUR else 4, markeredgewidth=0, zorder=5,
    )  # fmt: skip
