"""What a fit's page says of its review, and a variable's page of a threshold that labels have moved."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from anomaly.groups.golden import Golden
from anomaly.ports.labels import Adjustment
from anomaly.ports.reviews import AlertDiff, Comparison, JudgedAlert, Replayed, Review, Side
from tests.review.conftest import NOW, Site
from tests.review.test_pages import words
from tests.stages.conftest import START

DAY = timedelta(days=1)


def alert(kind: str, day: int, observed: float) -> JudgedAlert:
    begin = START + day * DAY
    names = ("orders.DE", "orders.FR", "refunds.DE", "<b>bold</b>")
    return JudgedAlert(begin, begin + DAY / 4, kind, "high", names, observed, 80.0, 9000.0, out_of_sample=True)


def golden(word: str, day: int) -> Golden:
    begin = START + day * DAY
    return Golden.model_validate({"start": begin, "end": begin + DAY, "variables": ["orders.DE"], "word": word})


@pytest.fixture
def review() -> Review:
    """It loses one confirmed incident, tells a known false alarm again, and cannot judge another."""
    return Review(
        fit_id="fit-1",
        group="orders",
        champion="fit-0",
        champion_version=2,
        made_at=NOW,
        comparison=Comparison((Side("MAE", 4, 4, 1.25, 1.5, 2.0, 0.83, 3, 1),), 0.83, (), ()),
        alerts=AlertDiff(
            START, START + 56 * DAY, 7, 6, 5, (alert("surge", 9, 190.0),), (alert("drop", 5, 3.0),), START
        ),
        golden=(
            Replayed(golden("real", 5), challenger=False, champion=True),
            Replayed(golden("false_alarm", 9), challenger=True, champion=False),
            Replayed(golden("real", 11), challenger=True, champion=True),
            Replayed(golden("real", 200), challenger=None, champion=None),
        ),
    )


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, its own head first."""
    table = page.partition(f">{heading}</h")[2].partition("<table")[2].partition("</table>")[0]
    assert table, f"no table after {heading!r}"
    return [
        [words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)
    ]


def test_a_fit_shows_the_alerts_that_would_appear_and_disappear(site: Site, review: Review) -> None:
    site.world.reviews().save(review)
    page = site.get("/fits/fit-1").text
    assert "the champion tells 7, the challenger 6; 5 stay." in words(page)
    assert "Alerts that appear 1 Alerts that disappear 1" in words(page)
    (_, appearing), (_, disappearing) = rows(page, "Would appear"), rows(page, "Would disappear")
    assert appearing[1:] == ["surge", "high", "orders.DE , orders.FR , refunds.DE and 1 more", "190", "80"]
    assert disappearing[1:3] == ["drop", "high"]
    assert disappearing[-2:] == ["3", "80"]


def test_a_fit_shows_what_becomes_of_each_golden_incident(site: Site, review: Review) -> None:
    site.world.reviews().save(review)
    head, lost, back, kept, unknown = rows(site.get("/fits/fit-1").text, "Golden incidents")
    assert head[-2:] == ["Champion", "Challenger"]
    assert lost[1:] == ["real", "tells it", "does not: lost"]
    assert back[1:] == ["false alarm", "does not", "tells it: back again"]
    assert kept[1:] == ["real", "tells it", "tells it"]
    assert unknown[1:] == ["real", "cannot judge", "cannot judge"]


def test_a_fit_that_had_no_champion_to_beat_has_no_columns_for_one(site: Site, review: Review) -> None:
    side = replace(review.comparison.sides[0], compared=0, champion=None, ratio=None, better=0, worse=0)
    site.world.reviews().save(
        replace(
            review,
            champion=None,
            champion_version=None,
            comparison=Comparison((side,), None, (), ()),
            alerts=replace(review.alerts, champion=None, kept=0, disappearing=()),
            golden=tuple(replace(found, champion=None) for found in review.golden),
        )
    )
    page = site.get("/fits/fit-1").text
    sums, alone, by_variable = (
        rows(page, heading) for heading in ("Champion against challenger", "Golden incidents", "Variable by variable")
    )
    assert sums[0] == ["Measure", "Variables", "Challenger", "Baseline"]
    assert alone[0] == ["When", "Said", "Challenger"]
    assert [row[-1] for row in alone[1:3]] == ["does not: not found", "tells it: back again"]
    assert by_variable[0][4:] == ["Challenger", "Baseline", "Against the baseline"]
    for table in (sums, alone, by_variable):
        assert {len(row) for row in table} == {len(table[0])}
    assert "there was no champion, the challenger tells 6." in words(page)
    assert "Would disappear" not in page


def test_a_fit_says_when_its_champion_could_not_be_replayed(site: Site, review: Review) -> None:
    site.world.reviews().save(
        replace(
            review,
            alerts=replace(review.alerts, champion=None, kept=0, disappearing=()),
            golden=tuple(replace(found, champion=None) for found in review.golden),
        )
    )
    page = site.get("/fits/fit-1").text
    assert "version 2 could not be replayed, the challenger tells 6." in words(page)
    assert "there was no champion" not in page
    assert "Alerts that disappear" not in page
    _, missed, *_ = rows(page, "Golden incidents")
    assert missed[1:] == ["real", "unknown", "does not: not found"]


def test_a_variable_says_that_a_label_has_moved_its_threshold(site: Site) -> None:
    assert "times rarer" not in words(site.get("/variables/orders/orders.DE").text)
    moved = Adjustment("orders", "orders.DE", NOW - DAY, 0.02, "false alarm of Vera")
    site.labels.adjust([moved])
    said = words(site.get("/variables/orders/orders.DE").text)
    assert re.search(r"50 times rarer since .*: false alarm of Vera; evidence of [\d.]+ \(.*?\) is needed", said)
    assert "times rarer" not in words(site.get("/variables/orders/orders.FR").text)
