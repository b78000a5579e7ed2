"""Charts: what each panel shows; PNGs of a sensible size, always the same, whatever the data and the names."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from anomaly.adapters import charts
from anomaly.adapters.charts import MatplotlibCharts, candidate_errors, residual_overview
from anomaly.groups import Group
from anomaly.ports import ChartData, ChartVariable, Incident, IncidentVariable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

NAN = float("nan")


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    """Also those of fonts and empty axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def variable(name: str = "dep_delay.UA", intervals: int = 192, **changes: Any) -> ChartVariable:
    """A daily pattern with a drop near the end."""
    random = np.random.default_rng(7)
    starts = np.datetime64("2013-02-03T05:00", "s") + np.arange(intervals) * np.timedelta64(3600, "s")
    predicted = 40 * np.clip(np.sin(np.arange(intervals) % 24 / 24 * np.pi), 0, None)
    observed = random.poisson(predicted).astype(float)
    hit = slice(int(intervals * 0.7), int(intervals * 0.85))
    observed[hit] = 0
    residuals = observed - predicted
    drawn = ChartVariable(
        variable=name,
        starts=starts,
        observed=observed,
        predicted=predicted,
        lower=np.maximum(predicted - 20, 0),
        upper=predicted + 20,
        residuals=residuals,
        anomalous=np.abs(residuals) > 20,
        fitted_residuals=random.normal(0, 4, 2000),
        distribution="norm",
        parameters=(0.0, 4.0),
        residual_lower=-20.0,
        residual_upper=20.0,
    )
    return replace(drawn, **changes)


def not_judged(name: str = "new") -> ChartVariable:
    unknown = np.full(192, NAN)
    return variable(
        name,
        predicted=unknown,
        lower=unknown,
        upper=unknown,
        residuals=unknown,
        anomalous=np.zeros(192, dtype=bool),
        fitted_residuals=np.empty(0),
        distribution="",
        parameters=(),
        residual_lower=float("-inf"),
        residual_upper=float("inf"),
    )


@pytest.fixture
def data(make_group: Callable[..., Group]) -> Callable[..., ChartData]:
    def make(*variables: ChartVariable, **changes: Any) -> ChartData:
        start, end = datetime(2013, 2, 8, 19, tzinfo=UTC), datetime(2013, 2, 9, 20, tzinfo=UTC)
        parts = tuple(IncidentVariable(v.variable, "drop", start, end, 18, 12.0, 658.0, 1e-12) for v in variables)
        incident = Incident(
            "carriers",
            "drop",
            start,
            end,
            resolved=False,
            tail_probability=1e-9,
            return_period_hours=41_200.0,
            variables=parts,
        )
        group = make_group(name="carriers", timezone=changes.pop("timezone", "America/New_York"))
        return ChartData(group=group, incident=replace(incident, **changes), variables=variables)

    return make


def size(png: bytes) -> tuple[int, int]:
    """Width and height, from the header."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_chart_is_a_png_sharp_at_slacks_width(data: Callable[..., ChartData]) -> None:
    width, height = size(MatplotlibCharts().incident(data(*[variable(f"v{n}") for n in range(6)])))

    assert width == 1440
    assert 1000 < height < 1600


def test_equal_data_gives_equal_bytes(data: Callable[..., ChartData]) -> None:
    assert MatplotlibCharts().incident(data(variable(), variable("b"))) == MatplotlibCharts().incident(
        data(variable(), variable("b"))
    )


def test_other_data_gives_another_chart(data: Callable[..., ChartData]) -> None:
    other = replace(variable(), observed=variable().observed + 1)

    assert MatplotlibCharts().incident(data(variable())) != MatplotlibCharts().incident(data(other))


def test_the_machines_own_matplotlib_settings_change_nothing(data: Callable[..., ChartData]) -> None:
    import matplotlib as mpl

    plain = MatplotlibCharts().incident(data(variable()))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "pink", "savefig.bbox": "tight"}):
        assert MatplotlibCharts().incident(data(variable())) == plain
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    "name", ["$x_2$ ^_{", "\\frac{", "🔥 漢字", "q\"u'o`te", "new\nline", "x" * 400, " ", "\x00\x07", "עברית"]
)
def test_any_name_can_be_drawn(data: Callable[..., ChartData], name: str) -> None:
    size(MatplotlibCharts().incident(data(variable(name), variable(name))))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[ChartData], Figure]:
    """The figure of an incident, before it becomes a PNG."""
    figures: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        figures.append(figure)
        return b""

    def draw(data: ChartData) -> Figure:
        monkeypatch.setattr(charts, "_png", keep)
        assert MatplotlibCharts().incident(data) == b""
        return figures.pop()

    return draw


def lines(axes: Axes, colour: str, *, marker: str = "None") -> list[Line2D]:
    return [line for line in axes.lines if line.get_color() == colour and line.get_marker() == marker]


def xs(line: Line2D) -> Any:
    return np.asarray(line.get_xdata(), dtype=float)


def ys(line: Line2D) -> Any:
    return np.asarray(line.get_ydata(), dtype=float)


def test_a_name_with_dollar_signs_is_not_a_formula(
    data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]
) -> None:
    from matplotlib.text import Text

    texts = drawn(data(variable("$a_1$"))).findobj(Text)

    titles = [text for text in texts if isinstance(text, Text) and "$a_1$" in text.get_text()]
    assert titles
    assert not any(text.get_parse_math() for text in titles)


def test_the_first_panel_has_observed_and_predicted_the_band_and_the_anomalies(
    data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]
) -> None:
    from matplotlib.collections import FillBetweenPolyCollection

    shown = variable()
    counts = drawn(data(shown)).axes[0]

    (observed,) = [line for line in lines(counts, charts._OBSERVED) if len(xs(line)) == 192]
    (predicted,) = lines(counts, charts._PREDICTED)
    np.testing.assert_array_equal(ys(observed), shown.observed)
    np.testing.assert_array_equal(ys(predicted), shown.predicted)
    (band,) = [part for part in counts.collections if isinstance(part, FillBetweenPolyCollection)]
    corners = np.asarray(band.get_paths()[0].vertices)
    assert {*shown.lower, *shown.upper} == set(corners[:, 1])
    (anomalies,) = lines(counts, charts._ANOMALY, marker="o")
    np.testing.assert_array_equal(ys(anomalies), shown.observed[shown.anomalous])
    assert len(ys(anomalies)) > 0


def test_the_second_panel_has_the_residuals_between_their_two_thresholds(
    data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]
) -> None:
    shown = variable()
    over_time = drawn(data(shown)).axes[-2]

    (residuals,) = lines(over_time, charts._QUIET)
    np.testing.assert_array_equal(ys(residuals), shown.residuals)
    assert thresholds(over_time) == [-20.0, 20.0]
    low, high = over_time.get_ylim()
    assert low < min(shown.residuals.min(), -20)
    assert high > max(shown.residuals.max(), 20)


def test_the_third_panel_has_the_history_as_bars_the_fitted_density_and_the_same_thresholds(
    data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]
) -> None:
    from matplotlib.patches import Rectangle
    from scipy import stats

    shown = variable()
    *_, over_time, histogram = drawn(data(shown)).axes

    assert histogram.get_ylim() == over_time.get_ylim()
    assert thresholds(histogram) == [-20.0, 20.0]
    bars = [part for part in histogram.patches if isinstance(part, Rectangle)]
    assert sum(bar.get_width() * bar.get_height() for bar in bars) == pytest.approx(1.0)
    (density,) = lines(histogram, charts._PREDICTED)
    at = ys(density)
    np.testing.assert_allclose(xs(density), stats.norm(0, 4).pdf(at))


def test_further_variables_are_small_panels_of_their_own(
    data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]
) -> None:
    others = [variable(name, observed=np.full(192, float(n))) for n, name in enumerate("bcdef")]
    panels = drawn(data(variable("a"), *others)).axes

    assert [panel.get_title("left") for panel in panels[:4]] == ["a", "b", "c", "d"]
    assert len(panels) == 1 + charts.SMALL_MULTIPLES + 2
    for n, panel in enumerate(panels[1:4]):
        (observed,) = [line for line in lines(panel, charts._OBSERVED) if len(xs(line)) == 192]
        assert set(ys(observed)) == {float(n)}


def test_of_a_variable_that_is_not_judged_there_are_counts_but_neither_thresholds_nor_density(
    data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]
) -> None:
    counts, over_time, histogram = drawn(data(not_judged())).axes

    assert len(lines(counts, charts._OBSERVED)) == 1
    assert thresholds(over_time) == thresholds(histogram) == []
    assert not lines(histogram, charts._PREDICTED)
    assert histogram.get_title("left") == "Not fitted"


def thresholds(axes: Axes) -> list[float]:
    """Where a dashed line goes from one side to the other."""
    dashed = [line for line in lines(axes, charts._ANOMALY) if line.is_dashed()]
    found = [ys(line) for line in dashed]
    assert all(first == last for first, last in found)
    return sorted(float(first) for first, _ in found)


@pytest.mark.parametrize(
    "changed",
    [
        {"observed": np.where(np.arange(192) % 5 == 0, NAN, 3.0)},
        {"observed": np.full(192, NAN)},
        {"observed": np.zeros(192), "predicted": np.zeros(192), "upper": np.zeros(192)},
        {"upper": np.full(192, np.inf)},
        {"residuals": np.zeros(192), "residual_lower": 0.0, "residual_upper": 0.0, "fitted_residuals": np.zeros(9)},
        {"fitted_residuals": np.array([NAN, 1.0])},
        {"distribution": "no_such_distribution"},
        {"distribution": "nct", "parameters": (2.5, 0.1, 0.0, 1e-22)},
        {"distribution": "norm", "parameters": (0.0, -1.0)},
        {"residual_upper": float("inf")},
        {"residual_lower": NAN, "residual_upper": NAN},
    ],
    ids="-".join,
)
def test_gaps_and_degenerate_data_are_drawn_as_far_as_they_go(
    data: Callable[..., ChartData], changed: dict[str, Any]
) -> None:
    size(MatplotlibCharts().incident(data(variable(**changed), variable("b", **changed))))


def test_a_variable_that_is_not_judged_is_drawn(data: Callable[..., ChartData]) -> None:
    size(MatplotlibCharts().incident(data(not_judged(), not_judged("b"))))


@pytest.mark.parametrize("intervals", [1, 2, 5, 30, 24 * 365])
def test_short_and_long_ranges_are_drawn(data: Callable[..., ChartData], intervals: int) -> None:
    size(MatplotlibCharts().incident(data(variable(intervals=intervals), variable("b", intervals=intervals))))


def test_an_incident_without_variables_to_draw_is_a_title(data: Callable[..., ChartData]) -> None:
    assert size(MatplotlibCharts().incident(data()))[1] < 300


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "America/Sao_Paulo", "UTC"])
@pytest.mark.parametrize("days", [0.25, 1, 2, 8, 40, 400])
def test_ticks_are_round_local_moments_and_few(zone: str, days: float) -> None:
    begin = 15_772.21
    ticks = charts._ticks(begin, begin + days, ZoneInfo(zone), at_most=8)

    assert 1 <= len(ticks) <= 9
    for at, _ in ticks:
        local = datetime.fromtimestamp(round(at * 86_400), UTC).astimezone(ZoneInfo(zone))
        assert local.minute == 0
        assert begin <= at <= begin + days


def test_midnights_are_where_the_clock_says_when_summer_time_begins() -> None:
    ticks = charts._ticks(15_773.21, 15_777.21, ZoneInfo("America/New_York"), at_most=8)

    starts = [datetime.fromtimestamp(round(at * 86_400), UTC).hour for at, label in ticks if "Mar" in label]
    assert starts[:1] == [5]
    assert starts[-1:] == [4]


def test_the_errors_of_candidates_are_drawn_also_where_one_has_none() -> None:
    errors = {"dense-16-mae": np.array([0.5, 1.2, NAN]), "lstm-16-mse": np.empty(0), "$naive$": np.array([2.0])}

    assert size(candidate_errors(errors))[0] == 1440
    assert candidate_errors(errors) == candidate_errors(errors)
    size(candidate_errors({}))


def test_residuals_are_drawn_for_the_thirty_widest_thresholds() -> None:
    residuals = {f"v{n}": np.random.default_rng(n).normal(size=50) for n in range(40)}
    lower = {name: -4.0 - n for n, name in enumerate(residuals)}
    upper = dict.fromkeys(residuals, 4.0) | {"v3": float("inf"), "v4": NAN}

    thirty = size(residual_overview(residuals, lower, upper))
    few = size(residual_overview({"v1": residuals["v1"], "v2": np.empty(0)}, lower, upper))

    assert thirty[1] > 3 * few[1]


@pytest.mark.parametrize(
    ("test", "hours", "looked_from"),
    [("sum-24", 24, "2013-02-07T20:00"), ("silence", 31, "2013-02-08T13:00"), ("single", None, None)],
)
def test_what_a_test_looked_at_before_its_first_anomaly_is_marked(
    data: Callable[..., ChartData],
    drawn: Callable[[ChartData], Figure],
    test: str,
    hours: int | None,
    looked_from: str | None,
) -> None:
    shown = data(variable())
    part = replace(shown.incident.variables[0], test=test, stretch=timedelta(hours=hours) if hours else None)
    counts, *_ = drawn(replace(shown, incident=replace(shown.incident, variables=(part,)))).axes
    dotted = [line for line in lines(counts, charts._ANOMALY) if line.is_dashed()]
    expected = (
        [] if looked_from is None else [[np.datetime64(looked_from, "s"), np.datetime64("2013-02-08T19:00", "s")]]
    )
    assert [list(xs(line)) for line in dotted] == [list(charts._days(np.array(ends))) for ends in expected]


def test_the_title_says_how_severe_it_is(data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]) -> None:
    figure = drawn(data(variable(), severity="critical"))
    assert any(text.get_text().startswith("Critical severity") for text in figure.texts)


def test_the_group_s_total_is_drawn_large_under_its_own_name(
    data: Callable[..., ChartData], drawn: Callable[[ChartData], Figure]
) -> None:
    figure = drawn(data(variable("dep_delay.UA"), variable("(total)")))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["all variables together", "dep_delay.UA", "Residuals of all variables together"]
