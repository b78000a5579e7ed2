"""A series' chart as PNG: what was observed, what was expected, and where it was called an anomaly.

In: one series as `anomaly detect` judged it. Out: a PNG of three panels:

* the whole series, with its anomalies;
* its worst stretch closely, with what was expected and the band outside of which a value alone is an anomaly;
* the anomaly score of every row, with the limit.

It looks as the incident's charts do (`anomaly.adapters.charts`), and equal data gives equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.adapters.charts import (
    _ANOMALY,
    _BAND,
    _LINE,
    _OBSERVED,
    _PREDICTED,
    _QUIET,
    LEFT,
    RIGHT,
    WIDTH,
    _anomalies,
    _days,
    _figure,
    _key,
    _panel,
    _png,
    _shown,
    _style,
    _ticks,
    _title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

CLOSE_ROWS = 240
"""Rows of the close look: ten days of hours."""
GAP_STEPS = 1.5
"""Rows further apart than so many intervals are not joined by a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesChart:
    """One series of T rows, in time. Arrays are (T,)."""

    name: str
    moments: NDArray[np.datetime64]
    """datetime64[s], UTC."""
    step: timedelta
    zone: ZoneInfo
    observed: Floats
    predicted: Floats
    lower: Floats
    upper: Floats
    """NaN where unknown; the last three in the unit of what was observed."""
    scores: Floats
    """In [0, 1]; 0.5 is the limit."""
    anomalous: NDArray[np.bool_]
    incidents: int
    from_zero: bool
    """Whether the axis begins at 0, as that of counts does."""


def series_chart(data: SeriesChart) -> bytes:
    """The chart, as PNG."""
    with _style():
        top, large, close, scores, between = 0.8, 1.7, 1.9, 0.8, 0.62
        under = top + large + between
        figure = _figure(under + close + between + scores + 0.36)
        told, inner = int(data.anomalous.sum()), WIDTH - LEFT - RIGHT
        facts = f"{told:,} of {len(data.moments):,} rows are anomalies, in {_number(data.incidents, 'incident')}"
        _title(figure, data.name, facts)
        whole = slice(0, len(data.moments))
        _values(_panel(figure, LEFT, top, inner, large), data, whole, band=False)
        part = _closest(data)
        panel = _panel(figure, LEFT, under, inner, close)
        _values(panel, data, part, band=True)
        _key(panel)
        panel.set_title(_shown("Around its worst rows" if told else "Its last rows"), loc="left", fontsize=9.5, pad=6)
        _scores(_panel(figure, LEFT, under + close + between, inner, scores), data)
        return _png(figure)


def _number(many: int, noun: str) -> str:
    return f"{many:,} {noun}{'' if many == 1 else 's'}"


def _closest(data: SeriesChart) -> slice:
    """The rows around the highest score of an anomaly; the last ones where there is none."""
    last = len(data.moments)
    worst = int(np.where(data.anomalous, data.scores, 0).argmax()) if data.anomalous.any() else last
    begin = max(0, min(worst - CLOSE_ROWS * 2 // 3, last - CLOSE_ROWS))
    return slice(begin, min(begin + CLOSE_ROWS, last))


def _values(axes: Axes, data: SeriesChart, part: slice, *, band: bool) -> None:
    days, observed = _days(data.moments[part]), data.observed[part]
    thin = min(1.0, max(0.3, (600 / max(1, len(days))) ** 0.5))
    axes.plot(*_broken(days, observed, data.step), color=_OBSERVED, linewidth=1.2 * thin, zorder=3)
    if band:
        lower, upper = data.lower[part], data.upper[part]
        axes.fill_between(days, lower, upper, color=_BAND, linewidth=0, step="mid", zorder=0.5)
        axes.plot(*_broken(days, data.predicted[part], data.step), color=_PREDICTED, linewidth=1.2, zorder=2)
    _anomalies(axes, days, observed, data.anomalous[part], size=4.5)
    _value_axis(axes, data, part, band=band)
    _time(axes, days, data)
    axes.grid(axis="y", color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def _value_axis(axes: Axes, data: SeriesChart, part: slice, *, band: bool) -> None:
    """What was observed and expected fits; a band that reaches much further is cut."""
    from matplotlib.ticker import MaxNLocator

    shown = [data.observed[part], data.predicted[part]] if band else [data.observed[part]]
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    if values.size:
        low, high = float(values.min()), float(values.max())
        low = min(low, 0.0) if data.from_zero else low
        room = 0.12 * (high - low) or max(abs(high), 1.0) * 0.1
        axes.set_ylim(low if data.from_zero and low == 0 else low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}".replace("-", "\N{MINUS SIGN}"))
    axes.spines["left"].set_visible(False)


def _scores(axes: Axes, data: SeriesChart) -> None:
    days = _days(data.moments)
    axes.vlines(days, 0, data.scores, color=_QUIET, linewidth=0.5)
    axes.axhline(0.5, color=_ANOMALY, linewidth=1.0, linestyle=(0, (4, 2.5)))
    _anomalies(axes, days, data.scores, data.anomalous, size=3.5)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.spines["left"].set_visible(False)
    axes.set_title("Anomaly score, and the limit", loc="left", fontsize=9.5, pad=6)
    _time(axes, days, data)


def _broken(days: Floats, values: Floats, step: timedelta) -> tuple[Floats, Floats]:
    """The line with a break wherever rows are missing."""
    after = np.flatnonzero(np.diff(days) > GAP_STEPS * (step / timedelta(days=1))) + 1
    return np.insert(days, after, np.nan), np.insert(values, after, np.nan)


def _time(axes: Axes, days: Floats, data: SeriesChart) -> None:
    begin, end = float(days.min()), float(days.max()) + data.step / timedelta(days=1)
    axes.set_xlim(begin, end)
    # A label in the last of eight parts would run out of the picture.
    ticks = [tick for tick in _ticks(begin, end, data.zone, at_most=8) if tick[0] <= end - 0.03 * (end - begin)]
    axes.set_xticks([tick for tick, _ in ticks], [label for _, label in ticks])
