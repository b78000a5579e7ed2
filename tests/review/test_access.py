"""Who may see and say what on the review pages; on a real PostgreSQL."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute

from anomaly.ports.review import Person
from anomaly.review.access import WriteGuard
from tests.review.conftest import NOW, PREFIX, SECRET, Site

EXAMPLES = {"name": "orders", "group_name": "orders", "fit_id": "fit-1"}


def routes(site: Site) -> list[tuple[str, str]]:
    """Method and path of every route, filled in with what there is; so that a new one is tested, too."""
    found = []
    for route in site.app.routes:
        if isinstance(route, APIRoute):
            path = route.path.replace("{name:path}", "orders.DE").replace("{incident_id}", str(site.incidents[0].id))
            for name, value in EXAMPLES.items():
                path = path.replace(f"{{{name}}}", value)
            found += [(method, path) for method in route.methods or ()]
    assert len(found) >= 14
    return found


def test_nobody_sees_or_says_anything_without_signing_in(site: Site) -> None:
    answers = {(m, p): site.client.request(m, PREFIX + p, headers={"x-who": ""}) for m, p in routes(site)}
    assert {at: answer.status_code for at, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert all("orders.FR" not in answer.text for answer in answers.values())


def test_signed_out_readers_are_led_to_the_sign_in_page_and_back(site: Site) -> None:
    page = site.client.get(f"{PREFIX}/incidents/1?v=orders.DE", headers={"x-who": ""}).text
    assert 'href="/login?next=%2Fanomaly%2Fincidents%2F1%3Fv%3Dorders.DE"' in page


def test_what_one_may_not_read_is_refused_on_every_route(site: Site) -> None:
    token = site.token("nemo")
    for method, path in routes(site):
        if path in {"/", "/groups"}:  # which show what one may read: here nothing
            continue
        headers = {"x-who": "nemo", "origin": "http://pages.test", "x-anomaly-token": token}
        body = {"word": "real", "variable": None, "hours": 1, "id": 1} if method == "POST" else None
        wanted = {"label": {"word": "real"}, "snooze": {"hours": 1}, "end": {"id": 1}}.get(path.rpartition("/")[2], {})
        answer = site.client.request(
            method,
            PREFIX + path,
            headers=headers,
            params={"word": "real", "v": "orders.DE"},
            json=wanted if body else None,
        )
        assert answer.status_code == 403, (method, path, answer.text)
        assert "orders.FR" not in answer.text


def test_a_group_that_one_may_not_read_is_not_listed(site: Site) -> None:
    assert "orders" in site.get("/groups").text
    assert "There is no group that you may read" in site.get("/groups", who="nemo").text


def test_readers_who_may_not_label_see_no_buttons_and_are_refused(site: Site) -> None:
    incident = site.incidents[0].id
    page = site.get(f"/incidents/{incident}", who="vera").text
    assert "data-word" not in page
    assert "the right to edit" in page
    refused = site.post(f"/incidents/{incident}/label", {"word": "real"}, who="vera")
    assert refused.status_code == 403
    assert "edit the DAG anomaly.orders" in refused.json()["detail"]
    assert site.post("/groups/orders/snooze", {"hours": 1}, who="vera").status_code == 403
    assert site.get(f"/data/effect/{incident}?word=real", who="vera").status_code == 403
    assert site.labels.labels(site.group) == ()


STALE = WriteGuard(SECRET).token(Person("ada", "Ada"), now=NOW - timedelta(hours=13))
FOREIGN = WriteGuard(SECRET).token(Person("vera", "Vera"), now=NOW)
FORGED = WriteGuard(b"another secret").token(Person("ada", "Ada"), now=NOW)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_anomaly_token": None}, 403),
        ({"x_anomaly_token": ""}, 403),
        ({"x_anomaly_token": "99999999999999999999.00"}, 403),
        ({"x_anomaly_token": STALE}, 403),
        ({"x_anomaly_token": FOREIGN}, 403),
        ({"x_anomaly_token": FORGED}, 403),
        ({"origin": None}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://elsewhere.test"}, 403),
        ({"origin": "https://pages.test"}, 403),
        ({"origin": "http://pages.test.elsewhere.test"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_write_that_does_not_come_from_our_own_page_changes_nothing(
    site: Site, headers: dict[str, Any], status: int
) -> None:
    incident = site.incidents[0].id
    assert site.post(f"/incidents/{incident}/label", {"word": "real"}, **headers).status_code == status
    assert site.post("/groups/orders/snooze", {"hours": 1}, **headers).status_code == status
    assert site.labels.labels(site.group) == ()
    assert site.labels.snoozes(site.group, at=NOW) == ()


def test_a_form_of_another_site_cannot_say_anything_with_the_readers_cookie(site: Site) -> None:
    sent = site.client.post(
        f"{PREFIX}/incidents/{site.incidents[0].id}/label",
        data={"word": "real"},
        headers={"x-who": "", "cookie": "who=ada", "origin": "http://elsewhere.test"},
    )
    assert sent.status_code in {403, 415}
    assert site.labels.labels(site.group) == ()


def test_a_token_that_is_no_number_is_refused_like_any_other(site: Site) -> None:
    guard = WriteGuard(SECRET)
    for token in ("", ".", "soon.abc", "é.é", "1" * 400 + ".a"):
        answer = site.client.post(
            f"{PREFIX}/groups/orders/snooze",
            content=json.dumps({"hours": 1}),
            headers={
                "x-who": "ada",
                "content-type": "application/json",
                "origin": "http://pages.test",
                "x-anomaly-token": token.encode("latin-1"),
            },
        )
        assert answer.status_code == 403
    assert guard.token(Person("ada", ""), now=NOW) != guard.token(Person("ad", ""), now=NOW)


def test_pages_load_nothing_from_elsewhere_and_are_framed_by_nobody_else(site: Site) -> None:
    answer = site.get("/groups")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
