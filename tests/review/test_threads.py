"""The thread on an incident's page, and the links from pages to the runs that made what they show."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pytest

from anomaly.ports.labels import Label, LabelWord
from anomaly.ports.review import Utterance
from anomaly.review.threads import lines
from tests.browsing import Seen
from tests.conftest import Arguments
from tests.review.conftest import NOW, Site
from tests.review.test_browser import CONTRASTS, LEAST_CONTRAST, _keep_picture, reader
from tests.review.test_pages import words
from tests.stages.conftest import HOUR

__all__ = ["reader"]

MINUTE = timedelta(minutes=1)


class Desk:
    """Sends what is said of the outage, in given words."""

    def __init__(self, site: Site) -> None:
        self.site, self.number = site, site.incidents[0].id or 0

    def send(self, action: Any, said: str, at: datetime) -> None:
        incident = self.site.store.incident(self.number)
        assert incident is not None
        self.site.store.enqueue(self.number, action, said=incident.thread)
        with self.site.store.due(self.site.group, at=at) as entries:
            (entry,) = entries
            where: dict[str, Any] = {"channel": "C1", "ts": "1.0", "permalink": f"http://slack.test/{action}"}
            self.site.store.delivered(entry, **where, chart=None, told="", at=at, words=said)

    def give(self, word: LabelWord, reason: str, at: datetime) -> None:
        label = Label("orders", NOW, NOW + HOUR, ("orders.DE",), word, "Ada", "page", at, reason, self.number)
        self.site.labels.give(label)

    def page(self) -> str:
        return words(str(self.site.get(f"/incidents/{self.number}").text).partition(">Its thread")[2])


@pytest.fixture
def desk(site: Site) -> Desk:
    return Desk(site)


def test_an_incidents_page_tells_its_thread_from_the_first_message_to_the_last(desk: Desk) -> None:
    desk.send("post", "Critical: all fell silent <now>", NOW)
    desk.give("real", "the queue stood still", NOW + MINUTE)
    for minute in (2, 3, 4):
        desk.send("update", f"edit {minute}", NOW + minute * MINUTE)
    desk.send("reply", "Resolved after 20 h", NOW + 5 * MINUTE)
    said = desk.page()
    order = (
        "Posted", "Critical: all fell silent &lt;now&gt;", "Ada", "real", "the queue stood still",
        "Message edited 3 times", "edit 4", "the 2 before it", "edit 2", "edit 3",
        "Reply in the thread", "Resolved after 20 h",
    )  # fmt: skip
    at = [said.find(part) for part in order]
    assert -1 not in at
    assert at == sorted(at)
    assert 'href="http://slack.test/reply"' in desk.site.get(f"/incidents/{desk.number}").text


def test_what_waits_for_slack_says_why_and_until_when(desk: Desk) -> None:
    desk.site.store.enqueue(desk.number, "post")
    with desk.site.store.due(desk.site.group, at=NOW) as (entry,):
        desk.site.store.postponed(entry, error="Slack does not answer", until=NOW + 30 * MINUTE)
    assert re.search(r"Waits to be posted next try \d+ .* Slack does not answer", desk.page())


def test_a_message_that_somebody_deleted_is_part_of_the_story(desk: Desk) -> None:
    desk.send("post", "first", NOW)
    desk.site.store.enqueue(desk.number, "update")
    with desk.site.store.due(desk.site.group, at=NOW + MINUTE) as (entry,):
        desk.site.store.message_gone(entry, at=NOW + MINUTE)
    desk.send("post", "second", NOW + 2 * MINUTE)
    assert re.search(r"Posted .* first .* deleted in Slack .* Posted .* second", desk.page())


def test_an_entry_that_had_nothing_left_to_say_is_not_in_the_thread(desk: Desk) -> None:
    desk.send("post", "first", NOW)
    desk.site.store.enqueue(desk.number, "update")
    with desk.site.store.due(desk.site.group, at=NOW + MINUTE) as (entry,):
        desk.site.store.dropped(entry, reason="nothing new", at=NOW + MINUTE)
    assert "edited" not in desk.page()


def test_an_incident_without_a_message_says_where_it_is_told_and_why(desk: Desk) -> None:
    assert "Nothing has been said of it yet." in desk.page()
    desk.site.store.place(desk.number, "page", reason="low ones go to the review page", at=NOW)
    assert "Told here only: low ones go to the review page." in desk.page()


def test_a_withdrawn_incident_keeps_its_thread(desk: Desk) -> None:
    desk.send("post", "Critical: all fell silent", NOW)
    desk.site.store.save_incidents(desk.site.group, [], withdrawn=[desk.number])
    assert re.search(r"Posted .* Critical: all fell silent", desk.page())


def test_the_digest_that_lists_an_incident_is_part_of_its_thread(desk: Desk) -> None:
    posts = desk.site.world.posts()
    desk.site.store.place(desk.number, "digest", reason="low ones go to the digest", at=NOW)
    assert "a line in the digest: low ones go to the digest." in desk.page()
    assert posts.begin_digest(desk.site.group, NOW + HOUR)
    assert "Waits for the digest" in desk.page()
    with posts.due(desk.site.group, at=NOW + HOUR) as (post,):
        posts.delivered(post, channel="C1", ts="1.0", permalink="http://slack.test/digest", at=NOW + HOUR)
    assert "Listed in the digest" in desk.page()
    assert 'href="http://slack.test/digest"' in desk.site.get(f"/incidents/{desk.number}").text


def test_messages_from_before_words_were_kept_say_so(desk: Desk, database_of_pages: Arguments) -> None:
    desk.send("post", "", NOW)
    with closing(psycopg2.connect(**database_of_pages)) as link, link.cursor() as cursor:
        cursor.execute("SELECT words FROM outbox")
        assert cursor.fetchall() == [(None,)]
    assert "its words were not kept" in desk.page()


def test_a_thread_is_read_without_looking_at_the_labels_of_other_incidents(
    desk: Desk, database_of_pages: Arguments
) -> None:
    """Those that were replaced are part of it, and no label is ever deleted."""
    with closing(psycopg2.connect(**database_of_pages)) as link, link.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")  # a table of few rows is scanned otherwise
        cursor.execute("EXPLAIN SELECT word FROM labels WHERE incident_id = %s", (desk.number,))
        plan = " ".join(line for (line,) in cursor.fetchall())
    assert "labels_by_incident" in plan, plan


def test_a_deletion_that_two_entries_found_out_is_told_once() -> None:
    gone = Utterance("gone", NOW, "")
    assert [line.title for line in lines([Utterance("post", NOW, "a"), gone, gone])] == [
        "Posted",
        "The message was deleted in Slack",
    ]


def test_edits_are_one_line_only_where_nothing_is_between_them() -> None:
    edit = Utterance("update", NOW, "e")
    made = lines([edit, edit, Utterance("reply", NOW, "r"), edit, Utterance("update", None, "")])
    assert [(line.title, len(line.earlier)) for line in made] == [
        ("Message edited 2 times", 1),
        ("Reply in the thread", 0),
        ("Message edited", 0),
        ("Waits: an edit of the message", 0),
    ]


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_a_thread_fits_its_screen_and_can_be_read(
    reader: Seen, served: str, desk: Desk, width: int, theme: Any
) -> None:
    desk.send("post", "Critical: orders: 4 variables fell silent, 6 Feb 2026 16:00 CET (once in 45 years)", NOW)
    for n in range(1, 30):
        desk.send("update", f"High: orders: {n} variables fell silent: ongoing, {n} h so far", NOW + n * HOUR)
    desk.send("reply", "6 more variables, 10 by now; orders.DE nothing for 9 h; usually at most 2 h", NOW + 30 * HOUR)
    desk.give("expected", "a sale in all shops", NOW + 31 * HOUR)
    desk.give("real", "the queue stood still", NOW + 32 * HOUR)
    desk.send("pointer", "Critical: orders: 4 variables fell silent", NOW + 33 * HOUR)
    desk.site.store.enqueue(desk.number, "update")
    with desk.site.store.due(desk.site.group, at=NOW + 34 * HOUR) as (entry,):
        desk.site.store.postponed(entry, error="Slack answers too_many_requests", until=NOW + 35 * HOUR)
    page = reader.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.goto(f"{served}/anomaly/incidents/{desk.number}")
    page.wait_for_load_state("networkidle")
    page.locator(".thread summary").click()
    assert page.locator(".edits li").count() == 28
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [found for found in page.evaluate(CONTRASTS) if found[0] < LEAST_CONTRAST] == []
    page.locator(".thread summary").click()
    _keep_picture(reader, f"thread-{theme}-{width}")
    assert reader.errors == []


# --- runs -------------------------------------------------------------------------------------------------------

FIT_RUN, RUN = (f"http://airflow.test/dags/anomaly.orders{dag}" for dag in (".fit/runs/of-fit-1", "/runs/run"))


def test_a_fit_leads_to_the_run_and_the_tasks_that_made_it(site: Site) -> None:
    page = site.get("/fits/fit-1").text
    for address in (FIT_RUN, f"{FIT_RUN}/tasks/train/mapped", f"{FIT_RUN}/tasks/review"):
        assert f'href="{address}"' in page
    assert 'href="http://mlflow.test/#/models/anomaly.orders/versions/3"' in page


def test_a_variable_leads_to_the_tasks_that_judged_and_trained_it(site: Site, database_of_pages: Arguments) -> None:
    with closing(psycopg2.connect(**database_of_pages)) as link, link, link.cursor() as cursor:
        cursor.execute("UPDATE fitted_variables SET slot = '5/dense-16-mae'")
    page = site.get("/variables/orders/orders.DE").text
    assert f'href="{RUN}/tasks/predict"' in page
    assert f'href="{FIT_RUN}/tasks/train/mapped/5"' in page
    assert 'href="http://docs.test"' in page


def test_an_incident_leads_to_the_task_that_judged_it(site: Site) -> None:
    page = site.get(f"/incidents/{site.incidents[0].id}").text
    assert f'href="{RUN}/tasks/predict"' in page
