"""The charts of a fit's alert diff: stored with the review, asked for behind the access checks, drawn by a browser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomaly.ports.reviews import DiffChart, DiffVariable, Judged, JudgedAlert, Review
from tests.browsing import Seen
from tests.review.conftest import Site
from tests.review.test_browser import CONTRASTS, LEAST_CONTRAST, _keep_picture, reader
from tests.review.test_fit_page import DAY, review

__all__ = ["reader", "review"]


def _chart(site: Site, alert: JudgedAlert, *, appears: bool) -> DiffChart:
    within = site.group.range(alert.start - 2 * DAY, alert.end + 2 * DAY)
    hours = np.arange(len(within))
    usual = 80 + 30 * np.sin(hours * np.pi / 12)
    odd = (hours >= 48) & (hours < 54)
    observed = np.where(odd, alert.observed / 6, usual + np.random.default_rng(1).normal(0, 4, len(hours)))
    unknown = np.where(hours < 3, np.nan, usual)
    champion, challenger = (
        Judged(unknown + off, unknown + off - 25, unknown + off + 25, odd & (appears == newer))
        for off, newer in ((6, False), (-2, True))
    )
    variables = tuple(
        DiffVariable(name, within.starts(), observed, champion, challenger if name != "orders.FR" else None)
        for name in alert.variables[:2]
    )
    return DiffChart(site.group, alert, appears, within, variables)


@pytest.fixture
def charted(site: Site, review: Review) -> Review:
    """The review with a chart of each alert."""
    (new,), (gone,) = review.alerts.appearing, review.alerts.disappearing
    new, gone = replace(new, chart="appears-1.png"), replace(gone, chart="disappears-1.png", out_of_sample=False)
    made = replace(review, alerts=replace(review.alerts, appearing=(new,), disappearing=(gone,)))
    site.world.reviews().save(made)
    site.world.diff_charts().save(
        "fit-1",
        {"appears-1.png": _chart(site, new, appears=True), "disappears-1.png": _chart(site, gone, appears=False)},
    )
    return made


def test_what_both_fits_say_around_an_alert_is_given_as_numbers(site: Site, charted: Review) -> None:
    found = site.get("/data/fit/fit-1/alert/appears-1.png").json()
    (alert,) = charted.alerts.appearing
    assert (found["appears"], found["zone"], found["step"]) == (True, "Europe/Berlin", 3600)
    assert found["span"] == [alert.start.timestamp(), alert.end.timestamp()]
    first, second = found["variables"]
    assert (first["name"], second["name"]) == ("orders.DE", "orders.FR")
    assert first["t"][0] == (alert.start - 2 * DAY).timestamp()
    assert first["champion"]["predicted"][:3] == [None, None, None]
    assert first["champion"]["predicted"][3] == pytest.approx(86 + 30 * np.sin(np.pi / 4), abs=0.01)
    assert (first["champion"]["anomalies"], first["challenger"]["anomalies"]) == ([], [48, 49, 50, 51, 52, 53])
    assert second["challenger"] is None


def test_only_who_may_read_the_group_sees_them(site: Site, charted: Review) -> None:
    path = "/data/fit/fit-1/alert/appears-1.png"
    assert [site.get(path, who=who).status_code for who in ("ada", "vera", "nemo")] == [200, 200, 403]


@pytest.mark.parametrize("path", ["fit-1/alert/none.png", "fit-9/alert/appears-1.png"])
def test_a_chart_that_is_not_there_is_said(site: Site, charted: Review, path: str) -> None:
    answer = site.get(f"/data/fit/{path}")
    assert answer.status_code == 404
    assert "fit" in answer.json()["detail"]


def test_a_review_from_before_charts_were_kept_has_its_table_alone(site: Site, review: Review) -> None:
    site.world.reviews().save(review)
    page = site.get("/fits/fit-1").text
    assert "data-diff" not in page
    assert "Would appear" in page


def test_saving_again_replaces_what_was_there(site: Site, charted: Review) -> None:
    charts = site.world.diff_charts()
    charts.save("fit-1", {"appears-2.png": _chart(site, charted.alerts.appearing[0], appears=True)})
    assert charts.names("fit-1") == {"appears-2.png"}
    charts.save("fit-1", {})
    assert charts.names("fit-1") == frozenset()


@pytest.mark.parametrize(("name", "width", "scheme"), [("fit-wide", 1280, "light"), ("fit-phone", 390, "dark")])
def test_the_diffs_charts_are_drawn_and_fit_the_screen(
    reader: Seen, served: str, site: Site, charted: Review, name: str, width: int, scheme: str
) -> None:
    page = reader.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{served}/anomaly/fits/fit-1")
    for number in (0, 1):
        page.locator("[data-diff]").nth(number).scroll_into_view_if_needed()
        page.locator("[data-diff]").nth(number).locator("canvas").nth(1).wait_for()
    assert page.locator(".diff canvas").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tables = page.eval_on_selector_all(
        "#alerts ~ .card table", "found => found.map(t => [t.scrollWidth, t.parentElement.clientWidth])"
    )
    assert all(needs <= has for needs, has in tables)
    over = page.locator(".diff .u-over").first
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] / 2, "y": 30})
    said = page.locator(".diff .hover").first.inner_text()
    assert "champion expects" in said
    assert "challenger expects" in said
    page.mouse.move(0, 0)
    page.evaluate("window.scrollTo(0, 0)")
    assert [found for found in page.evaluate(CONTRASTS) if found[0] < LEAST_CONTRAST] == []
    _keep_picture(reader, name)
    assert reader.errors == []
    assert reader.elsewhere() == []
