"""Cards, reports and charts of reviews: what people decide on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from anomaly.adapters import review_charts
from anomaly.adapters.model_cards import approval_body, model_card
from anomaly.groups import Group, TimeRange
from anomaly.groups.golden import Golden
from anomaly.ports import Fit
from anomaly.ports.reviews import (
    AlertDiff,
    Comparison,
    DiffChart,
    DiffVariable,
    Judged,
    JudgedAlert,
    Replayed,
    Review,
    ReviewLinks,
    Side,
    VariableErrors,
)

START, HOUR, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1), timedelta(days=1)
PNG = b"\x89PNG\r\n"


def alert(day: int, **changes: Any) -> JudgedAlert:
    begin = START + day * DAY
    whole: dict[str, Any] = {
        "start": begin,
        "end": begin + 6 * HOUR,
        "kind": "drop",
        "severity": "high",
        "variables": ("web|shop", "<b>app</b>", "c", "d"),
        "observed": 3.0,
        "expected": 80.0,
        "return_period_hours": 9000.0,
        "out_of_sample": day > 60,
        "chart": "appears-1.png",
    }
    return JudgedAlert(**(whole | changes))


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group(promotion={"mode": "reviewed"})


@pytest.fixture
def fit(group: Group) -> Fit:
    history = TimeRange(START, START + 90 * DAY, HOUR)
    return Fit("f2", "orders", history, {}, 1, "registered", "run", 2, reason="on drift: a moved")


@pytest.fixture
def review() -> Review:
    golden = Golden(start=START, end=START + DAY, variables=("web|shop",), word="real", reason="storm")
    errors = VariableErrors("web|shop", "MAE", 1.5, 1.0, 2.0)
    sides = (Side("MAE", 3, 2, 1.2, 1.1, 1.9, 1.09, 0, 1), Side("Poisson deviance", 1, 1, 0.3, 0.3, 0.4, 1.0, 0, 0))
    diff = AlertDiff(
        START + 34 * DAY, START + 90 * DAY, 3, 5, 2, (alert(70), alert(40)), (alert(50),), START + 63 * DAY
    )
    return Review(
        fit_id="f2",
        group="orders",
        champion="f1",
        champion_version=1,
        made_at=START,
        comparison=Comparison(sides, 1.05, (errors,), ()),
        alerts=diff,
        golden=(Replayed(golden, challenger=False, champion=True),),
    )


def test_a_card_says_first_what_speaks_against_it_and_everything_that_a_review_asks_for(
    group: Group, fit: Fit, review: Review
) -> None:
    links = ReviewLinks(run="http://run", data_docs="http://docs", page="http://page")
    card = model_card(group, fit, review, (), findings=["it loses 1"], charts={"appears-1.png": PNG}, links=links)
    text = card.markdown
    assert text.index("It loses 1") < text.index("## Forecasts") < text.index("## Alerts") < text.index("## Model")
    for words in (
        "**2 appear, 1 disappear**, 2 stay, as 3",
        "1 appear, 0 disappear. Before it",
        "1 confirmed, **1 lost**",
        "on drift: a moved",
        "1.050** times the champion's",
        "`web\\|shop`",
        "and 1 more",
        "[Review page](http://page)",
        "false alerts a week",
        "Known limits",
    ):
        assert words in text
    assert "| MAE" in text
    assert "| Poisson deviance" in text


def test_a_report_holds_its_charts_and_shows_names_as_they_are(group: Group, fit: Fit, review: Review) -> None:
    card = model_card(
        group, fit, review, (), findings=(), charts={"appears-1.png": PNG, "alerts.png": PNG}, links=ReviewLinks()
    )
    assert card.html.count("data:image/png;base64,") == 4
    assert "&lt;b&gt;app&lt;/b&gt;" in card.html
    assert "<b>app</b>" not in card.html
    assert "http" not in card.html.replace("http-equiv", "")


@pytest.mark.parametrize("letters", [12, 60, 2000])
def test_a_card_has_room_in_mlflows_table_however_much_there_is_to_say(
    group: Group, fit: Fit, review: Review, letters: int
) -> None:
    names = tuple(f"{'v' * letters}.{n}" for n in range(9))
    many = tuple(alert(day, variables=names) for day in range(34, 88))
    golden = replace(review.golden[0], golden=review.golden[0].golden.model_copy(update={"variables": names}))
    diff = replace(review.alerts, appearing=many, disappearing=many)
    much = replace(review, alerts=diff, golden=tuple(golden for _ in range(40)))

    card = model_card(group, fit, much, (), findings=["it loses 40"], charts={}, links=ReviewLinks())

    assert len(card.markdown) <= 5000
    assert card.markdown.index("It loses 40") < 100
    assert "report" in card.markdown
    assert all(name in card.html for name in names[:3])


def test_without_a_champion_nothing_is_compared(group: Group, fit: Fit, review: Review) -> None:
    diff = replace(review.alerts, champion=None, disappearing=(), kept=0)
    first = replace(review, champion=None, champion_version=None, alerts=diff, comparison=Comparison((), None, (), ()))
    card = model_card(group, fit, first, (), findings=(), charts={}, links=ReviewLinks())
    assert "there is no champion to compare with" in card.markdown
    assert "there is no champion yet" in card.html


def test_whoever_is_asked_reads_how_else_to_answer(group: Group, fit: Fit, review: Review) -> None:
    body = approval_body(group, fit, review, findings=(), links=ReviewLinks())
    for words in ("`anomaly models promote orders 2`", "alias `champion` to version 2", "within 7 days", "### Appear"):
        assert words in body


def test_charts_are_pictures_and_equal_data_gives_equal_bytes(group: Group, review: Review) -> None:
    within = TimeRange(START + 68 * DAY, START + 72 * DAY, HOUR)
    counts = np.full(len(within), 9.0)
    judged = Judged(counts, counts - 5, np.full(len(within), np.inf), counts > 0)
    shown = DiffVariable("web|shop", within.starts(), counts, judged, None)
    chart = DiffChart(group, review.alerts.appearing[0], appears=True, within=within, variables=(shown,))
    errors = [VariableErrors("a", "MAE", 1.0, 0.9, 1.1), VariableErrors("b", "Poisson deviance", 0.2, 0.3, None)]
    draws: tuple[Callable[[], bytes], ...] = (
        lambda: review_charts.alert(chart),
        lambda: review_charts.timeline(group, review),
        lambda: review_charts.comparison(errors),
        lambda: review_charts.comparison([replace(e, champion=None) for e in errors]),
        lambda: review_charts.comparison([]),
    )
    for draw in draws:
        png = draw()
        assert png.startswith(PNG)
        assert png == draw()
