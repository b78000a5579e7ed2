"""The review pages in a real browser: charts are drawn, keys work, a label arrives, nothing comes from elsewhere."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anomaly.review.rendering import STATIC
from tests.browsing import Seen
from tests.review.conftest import NOW, Site

if TYPE_CHECKING:
    from playwright.sync_api import Frame

LEAST_CONTRAST = 4.5
"""WCAG 2.2, level AA, for text of any size."""

CONTRASTS = """
() => {
  // Colours as the browser mixes them: each ground is painted over the one below it, then read back.
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const mixed = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, .unseen, .skip, :disabled")) continue;
    const grounds = [];
    for (let at = element; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const ground = light(mixed(grounds));
    const ink = light(mixed([...grounds, getComputedStyle(element).color]));
    const contrast = (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
    found.push([contrast, element.textContent.trim().slice(0, 40)]);
  }
  return found;
}
"""


@pytest.fixture
def reader(seen: Seen, served: str) -> Seen:
    """A browser that is signed in as somebody who may label."""
    seen.page.context.add_cookies([{"name": "who", "value": "ada", "url": served}])
    return seen


def drawn(reader: Seen) -> None:
    reader.page.wait_for_selector('[data-chart][data-drawn="true"]')
    reader.page.locator("[data-multiples]").scroll_into_view_if_needed()
    reader.page.wait_for_selector('[data-multiples][data-drawn="true"]')


def test_an_incidents_charts_are_drawn_and_can_be_zoomed_and_hovered(reader: Seen, served: str, site: Site) -> None:
    reader.page.goto(f"{served}/anomaly/incidents/{site.incidents[0].id}")
    drawn(reader)
    over = reader.page.locator(".panel.main .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] / 2, "y": 40})
    said = reader.page.locator(".panel.main .hover").inner_text()
    assert "observed" in said
    assert "expected" in said
    reader.page.mouse.move(box["x"] + 100, box["y"] + 50)
    reader.page.mouse.down()
    reader.page.mouse.move(box["x"] + 300, box["y"] + 60, steps=4)
    reader.page.mouse.up()
    reader.page.wait_for_selector('[data-chart][data-zoomed="true"]')
    reader.page.keyboard.press("Escape")
    reader.page.wait_for_selector('[data-chart][data-zoomed="false"]')
    assert reader.page.locator(".histogram canvas").count() == 1
    assert reader.page.locator(".multiple canvas").count() == 3
    assert reader.elsewhere() == []
    assert reader.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_fits_its_screen_and_can_be_read(
    reader: Seen, served: str, site: Site, theme: Any, width: int
) -> None:
    reader.page.set_viewport_size({"width": width, "height": 900})
    reader.page.emulate_media(color_scheme=theme)
    number = site.incidents[0].id
    for path in ("groups", "groups/orders", f"incidents/{number}", "variables/orders/orders.DE", "fits/fit-1"):
        reader.page.goto(f"{served}/anomaly/{path}")
        reader.page.wait_for_load_state("networkidle")
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= width, path
        weak = [found for found in reader.page.evaluate(CONTRASTS) if found[0] < LEAST_CONTRAST]
        assert weak == [], path
        _keep_picture(reader, f"review-{path.partition('/')[0]}-{theme}-{width}")
    assert reader.elsewhere() == []
    assert reader.errors == []


def test_the_keys_that_it_names_work(reader: Seen, served: str, site: Site) -> None:
    first, last = (incident.id for incident in site.incidents)
    page = reader.page
    page.goto(f"{served}/anomaly/incidents/{first}")
    page.keyboard.press("j")
    page.wait_for_url(f"**/incidents/{last}")
    page.keyboard.press("k")
    page.wait_for_url(f"**/incidents/{first}")
    page.keyboard.press("u")
    page.wait_for_url("**/groups/orders")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("jk refunds")  # keys are letters while somebody types
    assert page.input_value("#q") == "jk refunds"
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.wait_for_url("**/anomaly/groups")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/groups/orders")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_a_label_says_its_effect_and_is_kept(reader: Seen, served: str, site: Site) -> None:
    page = reader.page
    page.goto(f"{served}/anomaly/incidents/{site.incidents[1].id}")
    page.keyboard.press("3")
    page.locator(".effect-words", has_text="alerts").wait_for()
    page.locator(".effect .primary").click()
    assert site.labels.labels(site.group) == ()  # expected needs a reason
    page.fill(".effect input[name=reason]", "a sale")
    page.locator(".effect .primary").click()
    page.wait_for_selector(".said")
    assert "Ada said" in page.locator(".said").inner_text()
    (label,) = site.labels.labels(site.group)
    assert (label.word, label.reason, label.author, label.via) == ("expected", "a sale", "Ada", "page")
    page.locator("[data-take-back]").click()
    page.wait_for_selector(".said", state="detached")
    assert site.labels.labels(site.group) == ()
    assert reader.errors == []


def test_a_snooze_can_be_given_and_ended(reader: Seen, served: str, site: Site) -> None:
    page = reader.page
    page.goto(f"{served}/anomaly/variables/orders/orders.DE")
    page.locator("[data-snooze] button").click()
    page.wait_for_selector(".snoozed")
    (snooze,) = site.labels.snoozes(site.group, at=NOW)
    assert snooze.variable == "orders.DE"
    page.locator("[data-end-snooze]").click()
    page.wait_for_selector(".snoozed", state="detached")
    assert site.labels.snoozes(site.group, at=NOW) == ()


def test_in_a_frame_like_airflows_it_takes_its_theme_and_its_links_open_outside(
    reader: Seen, served: str, site: Site
) -> None:
    page = reader.page
    page.emulate_media(color_scheme="light")
    page.goto(f"{served}/frame/incidents/{site.incidents[0].id}")
    frame = _framed(page)
    frame.wait_for_selector('[data-chart][data-drawn="true"]')
    assert frame.evaluate("document.documentElement.dataset.theme") == "dark"
    page.context.route("http://airflow.test/**", lambda route: route.fulfill(body="a run"))
    with page.context.expect_page() as opened:
        frame.locator("a.out", has_text="Airflow run").click()
    opened.value.wait_for_load_state()
    assert opened.value.url == "http://airflow.test/dags/anomaly.orders/runs/run"
    opened.value.close()
    assert "/frame/" in page.url
    assert reader.errors == []


def test_a_cell_of_the_heatmap_leads_to_its_variable_at_its_time(reader: Seen, served: str, site: Site) -> None:
    page = reader.page
    page.goto(f"{served}/anomaly/groups/orders?q=orders.FR")
    cell = page.locator(".heat .mark").first
    cell.hover()
    assert "silent" in page.locator("#tip").inner_text()
    cell.click()
    page.wait_for_url("**/variables/orders/orders.FR?until=*")
    page.wait_for_selector('[data-chart][data-drawn="true"]')


def test_the_vendored_library_is_the_one_that_is_recorded() -> None:
    recorded = (STATIC / "vendor" / "VENDORED.md").read_text(encoding="utf-8")
    for path in (STATIC / "vendor").iterdir():
        if path.suffix in {".js", ".css"}:
            assert f"`{path.name}`" in recorded
            assert hashlib.sha256(path.read_bytes()).hexdigest() in recorded


def _framed(page: Any) -> Frame:
    page.wait_for_selector("iframe")
    found: Frame = page.frames[1]
    found.wait_for_load_state()
    return found


def _keep_picture(reader: Seen, name: str) -> None:
    """Into the folder that ``ANOMALY_PICTURES`` names, for looking at; nowhere without it."""
    folder = os.environ.get("ANOMALY_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        reader.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
