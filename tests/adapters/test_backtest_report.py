"""A backtest's page: complete, harmless, and without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from anomaly.adapters.backtest_report import Backtest, Reported, as_dict, as_html, promised, sentence
from anomaly.groups import Group
from anomaly.stages.backtest import FitDone, LateRows, Outcome, Refit, confirmed, differences
from tests.stages.test_backtest import DAY, START, alert, label

FIRST = Refit(START + 40 * DAY, START + 40 * DAY)


@pytest.fixture
def outcome(make_group: Callable[..., Group]) -> Outcome:
    group = make_group(timezone="America/New_York", description="Orders & <others>")
    within = group.range(START + 50 * DAY, START + 78 * DAY)
    fits = (FitDone(FIRST, promoted=True, said="version 1 serves"),)
    alerts = (alert(51, "a", severity="high"), alert(60, "<b>bold</b>"), alert(70, "c", told=None))
    return Outcome(group, within, fits, alerts)


def report(outcome: Outcome, *, second: bool = False) -> Backtest:
    labels = [label(51, "real", "a")]
    before = Reported("as it is", outcome, confirmed(outcome, labels), {5100: b"\x89PNG"})
    if not second:
        return Backtest(before, START + 80 * DAY, LateRows(0, 0))
    fewer = replace(outcome, alerts=outcome.alerts[1:])
    after = Reported("stricter.yaml", fewer, confirmed(fewer, labels))
    changed = {"threshold.min_relative": (0.0, 0.3)}
    found = differences(outcome, fewer)
    return Backtest(before, START + 80 * DAY, LateRows(1000, 25), after, found, changed, shared_fits=True)


class Tags(HTMLParser):
    """Collects tags that are open, and addresses."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """``<line/>`` opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("second", [False, True])
def test_the_page_is_whole_and_loads_nothing(outcome: Outcome, *, second: bool) -> None:
    page = as_html(report(outcome, second=second))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in tags.addresses)
    assert "<script" not in page
    assert not re.search(r"url\(|@import", page)


def test_every_bar_leads_to_its_incident(outcome: Outcome) -> None:
    page = as_html(report(outcome, second=True))
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert len(targets) >= 5
    assert targets <= set(re.findall(r'id="([^"]+)"', page))


def test_names_are_text_and_no_markup(outcome: Outcome) -> None:
    page = as_html(report(outcome))
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "Orders &amp; &lt;others&gt;" in page


def test_the_page_says_what_it_cannot_know(outcome: Outcome) -> None:
    assert "not known for these days" in as_html(report(outcome))
    two = as_html(report(outcome, second=True))
    assert "Of the 1,000 counts of which the first look is still known, 2.5% were completed later" in two
    assert "Both policies use the first one&#39;s fits" in two


def test_a_confirmed_incident_that_the_second_policy_loses_is_named(outcome: Outcome) -> None:
    found = report(outcome, second=True)
    assert found.loses_confirmed
    assert "It keeps quiet about incidents that people have confirmed" in as_html(found)
    assert not report(outcome).loses_confirmed


def test_sentences_count_what_the_channel_heard(outcome: Outcome) -> None:
    side = report(outcome).before
    assert sentence(side) == "2 alerts in 28 days, 0.5 a week: 1 high, 1 low"
    assert "of 2, people called 1 real, 0 false or expected and said nothing of 1: 0 to 0.25 false a week" in promised(
        side
    )


def test_without_a_champion_nothing_is_claimed(outcome: Outcome) -> None:
    never = replace(outcome, fits=(), alerts=())
    side = Reported("as it is", never, confirmed(never, []))
    assert sentence(side) == "no champion in these days, so nothing would have been judged"
    assert "None." in as_html(Backtest(side, START, LateRows(0, 0)))


def test_json_holds_both_policies_and_how_alerts_differ(outcome: Outcome) -> None:
    written = json.loads(json.dumps(as_dict(report(outcome, second=True))))
    assert [side["name"] for side in written["policies"]] == ["as it is", "stricter.yaml"]
    assert written["changed"] == {"threshold.min_relative": {"before": 0.0, "after": 0.3}}
    assert [d["how"] for d in written["differences"]] == ["disappears", "stays"]
    first = written["policies"][0]["incidents"][0]
    assert (first["label"], first["severity"], first["told_at"]) == (
        "real",
        "high",
        (START + 51 * DAY + timedelta(hours=1)).isoformat(),
    )
