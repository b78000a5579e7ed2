"""Charts as PNG: an incident's, for Slack, and a fit's, for MLflow.

An incident's chart is first seen some 700 pixels wide in a channel, or on a phone. So it shows the worst variable
large (or the group's total, where it takes part), a few more as small multiples, and says what happened in its title;
words next to the lines take the place of legends, and its colours (Okabe and Ito's) tell apart without hue. Three
panels, as everywhere in this project:

* observed and predicted counts, with the band outside of which a count is an anomaly;
* residuals over time, with the thresholds;
* the residuals that the distribution was fitted to, its density, and the same thresholds, on the same axis.

Equal data gives equal bytes: no pyplot, no user's style, no date in the file, fonts that come with matplotlib.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.adapters.messages import (
    called,
    headline,
    moment_words,
    number_words,
    return_period_words,
    shortened,
    span_words,
)
from anomaly.detection.families import FAMILIES
from anomaly.groups.intervals import to_datetime64
from anomaly.groups.model import TOTAL
from anomaly.ports import ChartData, ChartVariable, Floats

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
WIDTH = 7.2
"""Inches: 1,440 pixels, twice what Slack shows, for sharp displays."""
LEFT, RIGHT, TOP = 0.58, 0.2, 1.06
SMALL_MULTIPLES = 3
LONGEST_NAME = 34

_INK = "#1f2328"
_QUIET = "#6a737d"
_LINE = "#d8dde2"
_OBSERVED = "#1f2328"
_PREDICTED = "#0072b2"
_BAND = "#d6e6f2"
_ANOMALY = "#d55e00"

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": _INK,
    # Names of variables may hold dollar signs; they are names, not formulas.
    "text.parse_math": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
}


class MatplotlibCharts:
    """Port `Charts`."""

    def incident(self, data: ChartData) -> bytes:
        """See `Charts.incident`. Without variables, the title alone."""
        with _style():
            return _incident(data)


def candidate_errors(mae_by_candidate: Mapping[str, Floats]) -> bytes:
    """Mean absolute errors on the test period: one row per candidate, one dot per variable, a bar at the median.

    Args:
        mae_by_candidate: (V,) per candidate, in the group's transform; NaN where a variable did not train.
    """
    with _style():
        height = 0.5 * max(1, len(mae_by_candidate))
        figure = _figure(0.95 + height + 0.36)
        axes = _panel(figure, 1.9, 0.95, WIDTH - 1.9 - RIGHT, height)
        _title(
            figure,
            "Mean absolute error on the test period",
            "one dot per variable; bar: median; further left is better",
        )
        for row, errors in enumerate(mae_by_candidate.values()):
            known = errors[np.isfinite(errors)]
            spread = 0.28 * np.sin(2.399963 * np.arange(len(known)))  # golden angle: even, and the same every time
            axes.plot(known, row + spread, "o", color=_PREDICTED, alpha=0.35, markersize=3.5, markeredgewidth=0)
            if len(known):
                axes.plot([np.median(known)] * 2, [row - 0.36, row + 0.36], color=_ANOMALY, linewidth=2)
        axes.set_yticks(range(len(mae_by_candidate)), [_shown(name, 24) for name in mae_by_candidate], color=_INK)
        axes.set_ylim(len(mae_by_candidate) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color=_LINE, linewidth=0.6)
        return _png(figure)


def residual_overview(residuals: Mapping[str, Floats], lower: Mapping[str, float], upper: Mapping[str, float]) -> bytes:
    """The fitted residuals of up to 30 variables against their thresholds, the widest thresholds first.

    Args:
        residuals: (M,) per variable, in the group's transform.
        lower, upper: the thresholds, in the same unit; infinite or NaN where there is none.
    """
    widest = sorted(residuals, key=lambda name: (-np.nan_to_num(upper[name] - lower[name], posinf=0.0), name))[:30]
    with _style():
        height = 0.24 * max(1, len(widest))
        figure = _figure(0.95 + height + 0.36)
        axes = _panel(figure, 2.2, 0.95, WIDTH - 2.2 - RIGHT, height)
        more = f"; {len(widest)} of {len(residuals)} variables" if len(widest) < len(residuals) else ""
        _title(figure, "Residuals and thresholds", f"thick: half of them, thin: 98%, marks: thresholds{more}")
        for row, name in enumerate(widest):
            known = residuals[name][np.isfinite(residuals[name])]
            if len(known):
                first, low, high, last = np.percentile(known, [1, 25, 75, 99])
                axes.plot([first, last], [row, row], color=_PREDICTED, linewidth=1)
                axes.plot([low, high], [row, row], color=_PREDICTED, linewidth=4)
            ends = [end for end in (lower[name], upper[name]) if math.isfinite(end)]
            axes.plot(ends, [row] * len(ends), "|", color=_ANOMALY, markersize=8, markeredgewidth=1.6)
        axes.axvline(0, color=_LINE, linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(widest)), [_shown(called(name)) for name in widest], color=_INK)
        axes.set_ylim(len(widest) - 0.4, -0.6)
        return _png(figure)


# --- the incident's chart -----------------------------------------------------------------------------------------


def _incident(data: ChartData) -> bytes:
    """Laid out in inches from the top, so that text keeps its size however much there is to show."""
    variables = sorted(data.variables, key=lambda v: v.variable != TOTAL)  # the total first, the others as they come
    others = variables[1 : 1 + SMALL_MULTIPLES]
    main, small, bottom = 2.15, 0.82, 1.6
    under_main = TOP + main + 0.62
    under_small = under_main + (small + 0.62 if others else 0.0)
    figure = _figure(under_small + bottom + 0.36 if data.variables else 0.9)
    facts = [
        f"{data.incident.severity} severity".capitalize(),
        span_words(data.incident.start, data.incident.end, data.group.zone),
        return_period_words(data.incident.return_period_hours),
    ]
    _title(figure, headline(data.incident, name_limit=LONGEST_NAME), "  \N{MIDDLE DOT}  ".join(facts))
    if not data.variables:
        return _png(figure)

    worst = variables[0]
    inner = WIDTH - LEFT - RIGHT
    _counts(_panel(figure, LEFT, TOP, inner, main), worst, data, large=True)
    third = (inner - 2 * 0.45) / 3
    for column, variable in enumerate(others):
        axes = _panel(figure, LEFT + column * (third + 0.45), under_main, third, small)
        _counts(axes, variable, data, large=False)
    wide = 0.68 * inner
    over_time = _panel(figure, LEFT, under_small, wide, bottom)
    histogram = _panel(figure, LEFT + wide + 0.2, under_small, inner - wide - 0.2, bottom)
    limits = _residual_limits(worst)
    over_time.set_ylim(*limits)
    histogram.set_ylim(*limits)
    _residuals(over_time, worst, data)
    _histogram(histogram, worst)
    return _png(figure)


def _counts(axes: Axes, variable: ChartVariable, data: ChartData, *, large: bool) -> None:
    """Observed and predicted, the band, the anomalies, the incident's span."""
    x = _middles(variable)
    width = (1.0 if large else 0.6) * _thinner(variable)
    _span(axes, data)
    _stretch(axes, variable, data)
    axes.fill_between(x, variable.lower, variable.upper, color=_BAND, linewidth=0)
    axes.plot(x, variable.predicted, color=_PREDICTED, linewidth=1.4 * width)
    axes.plot(x, variable.observed, color=_OBSERVED, linewidth=1.6 * width)
    _anomalies(axes, x, variable.observed, variable.anomalous, size=4.5 if large else 3.2)
    _count_axis(axes, variable, large=large)
    _time_axis(axes, variable, data.group.zone, at_most=8 if large else 3)
    if large:
        axes.set_title(_shown(called(variable.variable), 22), loc="left", fontsize=11, fontweight="bold", pad=7)
        _key(axes)
    else:
        axes.set_title(_shown(called(variable.variable), 24), loc="left", fontsize=9.5, pad=5)


def _residuals(axes: Axes, variable: ChartVariable, data: ChartData) -> None:
    """Residuals over time with the thresholds."""
    x = _middles(variable)
    _span(axes, data)
    axes.axhline(0, color=_LINE, linewidth=0.8, zorder=0)
    axes.plot(x, variable.residuals, color=_QUIET, linewidth=1.1 * _thinner(variable))
    _anomalies(axes, x, variable.residuals, variable.anomalous, size=4)
    _thresholds(axes, variable)
    _time_axis(axes, variable, data.group.zone, at_most=5)
    axes.set_title(f"Residuals of {_shown(called(variable.variable), 30)}", loc="left", fontsize=9.5, pad=6)
    _few_ticks(axes)
    if not np.isfinite(variable.residuals).any():
        axes.set_yticks([])
        axes.text(0.5, 0.6, "no residuals: not judged", transform=axes.transAxes, ha="center", color=_QUIET)


def _histogram(axes: Axes, variable: ChartVariable) -> None:
    """The fitted residuals, sideways, on the axis of the residuals over time."""
    low, high = axes.get_ylim()
    fitted = variable.fitted_residuals[np.isfinite(variable.fitted_residuals)]
    longest = 0.0
    if len(fitted):
        bins = np.linspace(low, high, 61)
        densities = np.histogram(fitted, bins)[0] / (len(fitted) * np.diff(bins))
        axes.barh(bins[:-1], densities, np.diff(bins), align="edge", color="#c3cad1", linewidth=0)
        longest = float(densities.max(initial=0.0))
    grid = np.linspace(low, high, 600)
    density = _density(variable, grid)
    if density is not None:
        axes.plot(density, grid, color=_PREDICTED, linewidth=1.5)
        # A density that is sharper than the bins may run out of the panel; the bars set its width.
        longest = min(float(density.max()), 1.6 * longest) if longest else float(density.max())
        axes.set_title(
            f"fitted: {_shown(variable.distribution, 14)}", loc="right", fontsize=9.5, pad=6, color=_PREDICTED
        )
    elif variable.distribution == "counts":  # whose law is one of counts, not of these residuals
        axes.set_title("judged by its counts", loc="right", fontsize=9.5, pad=6, color=_PREDICTED)
    _thresholds(axes, variable)
    axes.set_xlim(0, 1.12 * longest if longest > 0 else 1)
    axes.set_xticks([])
    axes.tick_params(axis="y", labelleft=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title("History" if variable.distribution else "Not fitted", loc="left", fontsize=9.5, pad=6)


def _anomalies(axes: Axes, x: Floats, y: Floats, anomalous: NDArray[np.bool_], *, size: float) -> None:
    edge: dict[str, Any] = {"markeredgewidth": 0.5, "markeredgecolor": "white"}
    axes.plot(x[anomalous], y[anomalous], "o", color=_ANOMALY, markersize=size, clip_on=False, zorder=4, **edge)


def _thresholds(axes: Axes, variable: ChartVariable) -> None:
    for threshold in (variable.residual_lower, variable.residual_upper):
        if math.isfinite(threshold):
            axes.axhline(threshold, color=_ANOMALY, linewidth=1.1, linestyle=(0, (4, 2.5)), zorder=3)


def _residual_limits(variable: ChartVariable) -> tuple[float, float]:
    """The residual axis: everything shown over time, both thresholds, and almost all of the history."""
    fitted = variable.fitted_residuals[np.isfinite(variable.fitted_residuals)]
    ends = np.percentile(fitted, [0.1, 99.9]) if len(fitted) else np.array([])
    every = np.concatenate([variable.residuals, ends, [variable.residual_lower, variable.residual_upper, 0.0]])
    known = every[np.isfinite(every)]
    low, high = float(known.min()), float(known.max())
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _density(variable: ChartVariable, grid: Floats) -> Floats | None:
    """The fitted density on the grid; None when nothing was fitted, or it cannot be drawn."""
    family = FAMILIES.get(variable.distribution)
    if family is None:
        return None
    density = family.density(grid, variable.parameters)
    density = np.where(np.isfinite(density), density, 0.0)
    return density if density.max(initial=0.0) > 0 else None


# --- axes -----------------------------------------------------------------------------------------------------------


def _middles(variable: ChartVariable) -> Floats:
    """Middle of each interval, in days since the epoch: (N,)."""
    days = _days(variable.starts)
    return days + _step(days) / 2


def _days(moments: NDArray[np.datetime64]) -> Floats:
    seconds = moments.astype("datetime64[s]").astype(np.int64)
    return np.asarray(seconds / 86_400, dtype=np.float64)


def _thinner(variable: ChartVariable) -> float:
    """How much thinner lines get when there are more intervals than pixels can tell apart."""
    return min(1.0, max(0.25, math.sqrt(400 / max(1, len(variable.starts)))))


def _step(days: Floats) -> float:
    return float(np.diff(days).min()) if len(days) > 1 else 1 / 24


def _span(axes: Axes, data: ChartData) -> None:
    ends = np.array([to_datetime64(data.incident.start), to_datetime64(data.incident.end)])
    begin, end = _days(ends)
    axes.axvspan(begin, end, color=_ANOMALY, alpha=0.1, linewidth=0, zorder=1.5)
    axes.plot([begin, end], [1, 1], color=_ANOMALY, linewidth=2, transform=axes.get_xaxis_transform(), clip_on=False)


def _stretch(axes: Axes, variable: ChartVariable, data: ChartData) -> None:
    """What a test looked at before the incident's first interval: the hours summed, or those without a write."""
    part = next((v for v in data.incident.variables if v.variable == variable.variable), None)
    if part is None or part.stretch is None or len(variable.starts) < 2:
        return
    step = (variable.starts[1] - variable.starts[0]).astype("timedelta64[s]").astype(int)
    if part.test in {"frozen", "silence"}:
        looked_from = part.end - part.stretch
    else:
        looked_from = part.start + timedelta(seconds=int(step)) - part.stretch
    begin, end = _days(np.array([to_datetime64(looked_from), to_datetime64(part.start)]))
    if begin < end:
        begin = max(begin, _days(variable.starts)[0])
        axes.axvspan(begin, end, color=_ANOMALY, alpha=0.04, linewidth=0, zorder=1.4)
        axes.plot(
            [begin, end],
            [1, 1],
            color=_ANOMALY,
            linewidth=2,
            linestyle=(0, (1, 1.5)),
            clip_on=False,
            transform=axes.get_xaxis_transform(),
        )


def _count_axis(axes: Axes, variable: ChartVariable, *, large: bool) -> None:
    """From zero, up to what is observed and expected; a band that reaches far higher is cut."""
    lines = np.concatenate([variable.observed, variable.predicted])
    lines = lines[np.isfinite(lines)]
    band = variable.upper[np.isfinite(variable.upper)]
    highest = float(lines.max(initial=0.0))
    top = max(highest, min(float(band.max(initial=0.0)), 1.5 * highest)) or 1.0
    axes.set_ylim(0, 1.08 * top)
    if large:
        _few_ticks(axes)
        axes.grid(axis="y", color=_LINE, linewidth=0.6)
        axes.set_axisbelow(True)
    else:
        axes.set_yticks([0, _round_down(highest)] if highest > 0 else [0])
    axes.yaxis.set_major_formatter(lambda value, _: number_words(value))
    axes.spines["left"].set_visible(False)


def _few_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}".replace("-", "\N{MINUS SIGN}")))
    axes.spines["left"].set_visible(False)


def _time_axis(axes: Axes, variable: ChartVariable, zone: ZoneInfo, *, at_most: int) -> None:
    """Ticks at local midnights (or hours, or months), as many as there is room for."""
    days = _days(variable.starts)
    if len(days) == 0:
        axes.set_xticks([])
        return
    begin, end = float(days[0]), float(days[-1]) + _step(days)
    axes.set_xlim(begin, end)
    ticks = _ticks(begin, end, zone, at_most=at_most)
    axes.set_xticks([tick for tick, _ in ticks], [label for _, label in ticks])


def _ticks(begin: float, end: float, zone: ZoneInfo, *, at_most: int) -> list[tuple[float, str]]:
    """Positions (days since the epoch) and labels of round local moments."""
    length = end - begin
    hours = next((h for h in (1, 3, 6, 12) if length * 24 / h <= at_most), None)
    if hours is not None:
        every = _local_moments(begin, end, zone, unit="h")
        return [(at, _hour_label(local)) for at, local in every if local.hour % hours == 0]
    midnights = _local_moments(begin, end, zone, unit="D")
    step = next((s for s in (1, 2, 3, 7, 14) if length / s <= at_most), None)
    if step is not None:
        return [(at, moment_words(local, zone, year=False)[:-6]) for at, local in midnights[::step]]
    firsts = [(at, local) for at, local in midnights if local.day == 1]
    stride = math.ceil(len(firsts) / at_most) or 1
    return [(at, " ".join(moment_words(local, zone).split()[1:3])) for at, local in firsts[::stride]]


def _local_moments(
    begin: float, end: float, zone: ZoneInfo, *, unit: Literal["h", "D"]
) -> list[tuple[float, datetime]]:
    """Every local full hour or midnight within the range."""
    first = datetime.fromtimestamp(begin * 86_400, UTC).astimezone(zone).replace(tzinfo=None)
    last = datetime.fromtimestamp(end * 86_400, UTC).astimezone(zone).replace(tzinfo=None)
    walls = np.arange(np.datetime64(first, unit), np.datetime64(last, unit) + 1).astype("datetime64[s]").tolist()
    moments = [wall.replace(tzinfo=zone) for wall in walls]
    placed = [(moment.timestamp() / 86_400, moment) for moment in moments]
    return [(at, moment) for at, moment in placed if begin <= at <= end]


def _hour_label(local: datetime) -> str:
    return f"{local:%H:%M}" if local.hour else f"{local.day} {moment_words(local, ZoneInfo('UTC')).split()[1]}"


def _round_down(value: float) -> float:
    """The largest of 1, 2, 5, 10, 20, … (or whole number under 5) that is at most the value."""
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(step * magnitude for step in (5.0, 2.0, 1.0) if step * magnitude <= value)


def _key(axes: Axes) -> None:
    """The words for the lines, in the lines' colours, at the right end of the title's row."""
    from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea
    from matplotlib.patches import Rectangle

    band = DrawingArea(14, 8)
    band.add_artist(Rectangle((0, 0), 14, 8, color=_BAND, linewidth=0))
    words: list[Artist] = []
    for mark, word, colour in (
        ("\N{EM DASH}", "observed", _OBSERVED),
        ("\N{EM DASH}", "expected", _PREDICTED),
        (None, "normal range", _QUIET),
        ("\N{BLACK CIRCLE}", "anomaly", _ANOMALY),
    ):
        shown = TextArea(f"{mark} {word}" if mark else word, textprops={"color": colour, "fontsize": 9})
        words.append(shown if mark else HPacker(children=[band, shown], pad=0, sep=4, align="center"))
    row = HPacker(children=words, pad=0, sep=12, align="center")
    place: dict[str, Any] = {"bbox_to_anchor": (1, 1.015), "bbox_transform": axes.transAxes, "borderpad": 0, "pad": 0}
    axes.add_artist(AnchoredOffsetbox("lower right", child=row, frameon=False, **place))


# --- the figure -----------------------------------------------------------------------------------------------------


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the machine's matplotlibrc says."""
    from matplotlib import rc_context, rcParamsDefault

    style: dict[Any, Any] = {k: v for k, v in rcParamsDefault.items() if not k.startswith(("backend", "interactive"))}
    style.update(_STYLE)
    with rc_context(style):
        yield


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")


def _panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes placed in inches from the top left corner."""
    total = figure.get_figheight()
    return figure.add_axes((left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total))


def _title(figure: Figure, title: str, facts: str) -> None:
    total = figure.get_figheight()
    figure.text(0.16 / WIDTH, 1 - 0.14 / total, _shown(title, 58), fontsize=15, fontweight="bold", va="top")
    figure.text(0.16 / WIDTH, 1 - 0.47 / total, _shown(facts, 90), fontsize=9.5, color=_QUIET, va="top")


def _shown(text: str, limit: int = LONGEST_NAME) -> str:
    """A text that the font can draw: what it has no glyph for becomes an empty box instead of a warning."""
    line = shortened(text, limit)
    return "".join(c if ord(c) in _glyphs() else "\N{WHITE SQUARE}" for c in line)


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
