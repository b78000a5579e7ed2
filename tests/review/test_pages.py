"""What the review pages say; on a real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import psycopg2
import pytest

from anomaly.adapters.postgres.review import PostgresOverviews
from anomaly.groups import Group
from anomaly.ports.detectability import Noticed, VariableDetectability
from anomaly.ports.review import GroupGlance, RunLink, Stretch
from anomaly.review.pages import health
from tests.conftest import Arguments
from tests.review.conftest import JUDGED, NAMES, NOW, PREFIX, Site
from tests.stages.conftest import HOUR, START
from tests.stages.watched import HISTORY

TOTAL_CELLS = Stretch(START + HISTORY * HOUR, JUDGED // 6, timedelta(hours=6))


def words(page: str) -> str:
    """What a page says, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_installation_names_groups_open_incidents_and_variables_with_trouble(site: Site) -> None:
    said = words(site.get("/groups").text)
    assert "1 group, 4 variables" in said
    assert "4 variables fell silent" in said
    assert "orders.DE surged" in said
    for name in ("orders.DE", "orders.FR", "refunds.DE"):
        assert name in said


def test_a_search_finds_variables_by_a_part_of_their_name_taken_literally(site: Site) -> None:
    found = words(site.get("/groups?q=REFUNDS").text)
    assert "refunds.DE" in found
    assert "orders.FR" not in found
    assert "No variable is called like that" in site.get("/groups?q=%25").text
    assert "No variable is called like that" in site.get("/groups?q=orders_DE").text


def test_names_are_shown_and_never_taken_for_markup(site: Site) -> None:
    for path in ("/groups", "/groups/orders", f"/incidents/{site.incidents[0].id}", "/fits/fit-1"):
        page = site.get(path).text
        assert "<b>bold</b>" not in page, path
        assert "&lt;b&gt;bold&lt;/b&gt;" in page, path
    page = site.get("/variables/orders/%3Cb%3Ebold%3C%2Fb%3E")
    assert page.status_code == 200
    assert "<b>bold</b>" not in page.text


def test_an_incident_says_what_happened_and_leads_to_run_model_and_data_docs(site: Site) -> None:
    page = site.get(f"/incidents/{site.incidents[0].id}").text
    said = words(page)
    assert "4 variables fell silent" in said
    assert "Resolved after 20 h" in said
    assert 'href="http://airflow.test/dags/anomaly.orders/runs/run"' in page
    assert 'href="http://mlflow.test/#/models/anomaly.orders/versions/3"' in page
    assert 'href="http://docs.test"' in page
    assert f'href="{PREFIX}/fits/fit-1"' in page


def test_incidents_lead_to_the_one_before_and_the_one_after(site: Site) -> None:
    first, last = (incident.id for incident in site.incidents)
    assert f'rel="next" class="button small" href="{PREFIX}/incidents/{last}"' in site.get(f"/incidents/{first}").text
    assert f'rel="prev" class="button small" href="{PREFIX}/incidents/{first}"' in site.get(f"/incidents/{last}").text


def test_a_withdrawn_incident_says_so_and_can_not_be_labelled(site: Site) -> None:
    number = site.incidents[1].id
    assert number is not None
    site.store.save_incidents(site.group, [], withdrawn=[number])
    answer = site.get(f"/incidents/{number}")
    assert answer.status_code == 200
    assert "was withdrawn" in answer.text
    assert site.post(f"/incidents/{number}/label", {"word": "real"}).status_code == 422
    assert "orders.DE surged" not in words(site.get("/groups").text)


def test_a_variable_says_its_model_and_the_rule_behind_its_thresholds(site: Site) -> None:
    said = words(site.get("/variables/orders/orders.DE").text)
    assert "seasonal-naive" in said
    assert "1 false incident a week in #alerts" in said
    assert "evidence" in said
    assert "the DAG anomaly.orders.detectability does it on its next run" in said
    assert "run: anomaly detectability orders" in said


def test_a_variable_says_the_smallest_change_it_would_notice(site: Site) -> None:
    changes = tuple(Noticed("drop", hour, 0.3, timedelta(hours=2), 0.9) for hour in range(23))
    never = Noticed("drop", 23, None, None, 0.1)
    seen = VariableDetectability("orders.DE", "fit-1", NOW, 14, 2400.0, "", (*changes, never))
    site.world.detectability().save(site.group, "fit-1", [seen])
    page = site.get("/variables/orders/orders.DE").text
    assert "drop of 30%, noticed after 2 h on the median day" in page
    assert "never: noticed on 10% of 14 days" in page


def test_a_fit_compares_every_variable_with_the_champion_the_worst_first(site: Site) -> None:
    fitted = site.store.fitted("fit-1", residuals=True)
    errors = {"orders.DE": (2.0, 1.0), "orders.FR": (1.0, 2.0), "refunds.DE": (1.0, 1.0)}
    site.store.save_fitted(
        "fit-1",
        [
            replace(f, mae={"chosen": errors[f.variable.name][0], "champion": errors[f.variable.name][1]})
            if f.variable.name in errors
            else f
            for f in fitted
        ],
        [],
    )
    page = site.get("/fits/fit-1").text
    said = words(page)
    assert "Better than the champion 1" in said
    assert "Worse 1" in said
    assert page.index(">orders.DE<") < page.index(">refunds.DE<") < page.index(">orders.FR<")
    better = site.get("/fits/fit-1?order=better").text
    assert better.index(">orders.FR<") < better.index(">orders.DE<")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/groups/nothing", "no group"),
        ("/incidents/999999", "no incident"),
        ("/variables/orders/nothing", "met no variable"),
        ("/fits/nothing", "no fit"),
    ],
)
def test_what_is_not_there_is_said_on_a_page(site: Site, path: str, said: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 404
    assert said in words(answer.text)


def test_wrong_questions_are_answered_not_crashed_on(site: Site) -> None:
    assert site.get("/groups?order=<script>").status_code == 422
    assert site.get("/groups?page=-3&days=100000").status_code == 200
    assert site.get("/incidents/abc").status_code == 422
    assert site.get("/incidents/99999999999999999999999").status_code in {404, 422}
    assert site.get(f"/data/incident/{site.incidents[0].id}?v=nothing").status_code == 404
    assert site.get("/data/variable/orders/orders.DE?until=1900-01-01T00:00:00Z").status_code == 200


@pytest.mark.parametrize("path", ["/groups?page={n}", "/groups/orders?page={n}", "/groups/orders?older={n}"])
def test_a_page_far_beyond_the_last_is_empty(site: Site, path: str) -> None:
    assert site.get(path.format(n=10**30)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/groups/orders?until=0001-01-01T00:00:00Z",
        "/data/variable/orders/orders.DE?days=1000000000",
        "/data/variable/orders/orders.DE?until=9999-12-31T23:59:59-14:00",
        "/groups?q=%00",
        "/fits/%00",
    ],
)
def test_what_no_calendar_and_no_text_can_hold_is_refused(site: Site, path: str) -> None:
    assert site.get(path).status_code == 422


# --- saying something -------------------------------------------------------------------------------------------


def test_a_labels_effect_is_told_before_it_is_given(site: Site) -> None:
    answer = site.get(f"/data/effect/{site.incidents[1].id}?word=false_alarm")
    assert answer.status_code == 200
    assert "alerts" in answer.json()["said"]
    assert site.labels.labels(site.group) == ()


def test_a_label_is_kept_with_the_name_of_who_is_signed_in_and_shown(site: Site) -> None:
    number = site.incidents[0].id
    given = site.post(f"/incidents/{number}/label", {"word": "expected", "reason": "a planned stop"})
    assert given.status_code == 200, given.text
    (label,) = site.labels.labels(site.group)
    assert (label.word, label.author, label.via, label.reason) == ("expected", "Ada", "page", "a planned stop")
    said = words(site.get(f"/incidents/{number}").text)
    assert "Ada said just now: expected a planned stop" in said
    assert site.told == ["orders"]


def test_nobody_can_sign_with_another_name(site: Site) -> None:
    number = site.incidents[0].id
    refused = site.post(f"/incidents/{number}/label", {"word": "real", "author": "Vera"})
    assert refused.status_code == 422
    assert site.labels.labels(site.group) == ()


def test_a_label_can_be_replaced_and_taken_back(site: Site) -> None:
    number = site.incidents[0].id
    site.post(f"/incidents/{number}/label", {"word": "real"})
    site.post(f"/incidents/{number}/label", {"word": "false_alarm"})
    assert [label.word for label in site.labels.labels(site.group)] == ["false_alarm"]
    assert site.post(f"/incidents/{number}/take-back", {}).json() == {"taken_back": "false_alarm"}
    assert site.labels.labels(site.group) == ()


def test_a_refusal_says_what_is_missing(site: Site) -> None:
    refused = site.post(f"/incidents/{site.incidents[0].id}/label", {"word": "expected"})
    assert refused.status_code == 422
    assert "needs a reason" in refused.json()["detail"]
    assert site.told == []


def test_a_snooze_is_kept_shown_and_can_be_ended(site: Site) -> None:
    assert site.post("/groups/orders/snooze", {"variable": "orders.DE", "hours": 4}).status_code == 200
    (snooze,) = site.labels.snoozes(site.group, at=NOW)
    assert (snooze.variable, snooze.end, snooze.author) == ("orders.DE", NOW + 4 * HOUR, "Ada")
    assert "orders.DE is snoozed until" in words(site.get("/groups/orders").text)
    assert site.post("/groups/orders/snooze/end", {"id": snooze.id}).status_code == 200
    assert site.labels.snoozes(site.group, at=NOW) == ()
    assert site.post("/groups/orders/snooze/end", {"id": snooze.id}).status_code == 404


# --- what is asked of the database --------------------------------------------------------------------------------


@pytest.fixture
def overviews(site: Site, database_of_pages: Arguments) -> PostgresOverviews:
    return PostgresOverviews(database_of_pages)


def test_a_glance_has_the_latest_run_of_each_stage_of_each_group(
    site: Site, overviews: PostgresOverviews, make_group: Callable[..., Group]
) -> None:
    for group in (site.group, make_group(name="idle"), make_group(name="other")):
        for hour, stage in enumerate(("update", "predict", "update", "fit.train") if group.name != "idle" else ()):
            within = group.range(START, START + HOUR)
            site.store.record_run(group, stage, within, seconds=hour, report={}, at=NOW + hour * HOUR)
    found = overviews.glances(["orders", "idle", "other"], since=None)
    latest = {"update": 2.0, "predict": 1.0, "fit.train": 3.0}
    runs = {name: {stage: run.seconds for stage, run in glance.runs.items()} for name, glance in found.items()}
    assert runs == {"orders": latest, "idle": {}, "other": latest}


def test_a_heatmaps_cells_count_what_predict_stored(site: Site, overviews: PostgresOverviews) -> None:
    page = overviews.variables(["orders"], TOTAL_CELLS, order="name")
    assert [row.name for row in page.rows] == sorted(NAMES)
    known = {v.name: v for v in site.store.variables(site.group)}
    within = site.group.range(TOTAL_CELLS.start, TOTAL_CELLS.end)
    for row in page.rows:
        said = site.store.read_predictions(site.group, [known[row.name]], within)
        assert said is not None
        odd = said.kinds[0] != ""
        assert row.anomalies == odd.sum()
        assert {cell.at: cell.anomalies for cell in row.cells} == {
            at: int(odd[6 * at : 6 * at + 6].sum()) for at in range(TOTAL_CELLS.cells) if odd[6 * at : 6 * at + 6].any()
        }


def test_variables_come_in_pages_that_together_are_all(overviews: PostgresOverviews) -> None:
    pages = [overviews.variables(["orders"], TOTAL_CELLS, limit=1, offset=at) for at in range(4)]
    assert {page.total for page in pages} == {4}
    assert sorted(page.rows[0].name for page in pages) == sorted(NAMES)
    assert pages[0].rows[0].anomalies >= pages[3].rows[0].anomalies


def test_a_groups_strip_counts_variables_not_intervals(overviews: PostgresOverviews) -> None:
    strip = overviews.strips(["orders"], TOTAL_CELLS)["orders"]
    assert max(cell.anomalies for cell in strip) == len(NAMES)


def test_relatives_share_the_end_of_a_name_before_its_beginning(overviews: PostgresOverviews) -> None:
    assert overviews.relatives("orders", [], "orders.DE", limit=5) == ("refunds.DE", "orders.FR")
    assert overviews.relatives("orders", ["refunds.DE"], "orders.DE", limit=5) == ("orders.FR",)


def test_incidents_are_found_by_variable_and_time(site: Site, overviews: PostgresOverviews) -> None:
    outage, blip = site.incidents
    assert [i.id for i in overviews.incidents(["orders"], variable="orders.DE").rows] == [blip.id, outage.id]
    assert [i.id for i in overviews.incidents(["orders"], variable="orders.FR").rows] == [outage.id]
    assert [i.id for i in overviews.incidents(["orders"], within=(blip.start, blip.end)).rows] == [blip.id]
    assert overviews.incidents(["another"]).rows == ()


# --- health -------------------------------------------------------------------------------------------------------


def test_health_names_the_gravest_first(site: Site, overviews: PostgresOverviews) -> None:
    group: Group = site.group
    glance: GroupGlance = overviews.glances(["orders"], since=NOW)["orders"]
    fit = site.store.champion(group)
    counted = glance.counted_until
    assert counted is not None
    soon = counted + timedelta(minutes=10)
    assert health(group, glance, fit, None, soon).words == "up to date"
    assert health(group, glance, fit, None, soon + timedelta(hours=9)).words.endswith("behind")
    assert health(group, glance, None, None, soon).words == "no model yet"
    failed = RunLink("r", "failed", "")
    assert health(group, glance, fit, failed, soon).level == "bad"
    stuck = replace(glance, undelivered=2)
    assert health(group, stuck, fit, None, soon).words == "2 messages could not be delivered"


def test_a_database_that_does_not_answer_is_a_page_that_says_try_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise psycopg2.OperationalError("no route to host")

    monkeypatch.setattr(psycopg2, "connect", refuse)
    answer = site.get("/groups")
    assert answer.status_code == 503
    assert "Try again" in answer.text
