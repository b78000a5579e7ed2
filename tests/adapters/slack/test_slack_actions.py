"""Clicks in Slack, over both transports, against a server that behaves as Slack does, on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from starlette.testclient import TestClient

from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.slack_actions import SlackActions, http_app, listener
from anomaly.adapters.slack_modals import LENGTHS, Asked, label_view, snooze_view
from anomaly.exceptions import ConfigurationError, SlackUnavailableError, StoreUnavailableError
from anomaly.groups import Group
from anomaly.local.slack_preview import views
from anomaly.ports import Incident
from anomaly.ports.labels import Label, LabelWord
from anomaly.stages.label import Effect
from tests.adapters.slack.conftest import Preview

SECRET = "a signing secret"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@dataclass
class Told:
    """Notes whose outbox was delivered; Slack may be down."""

    groups: list[str] = field(default_factory=list)
    down: bool = False

    def __call__(self, group: Group) -> None:
        if self.down:
            raise SlackUnavailableError("Slack is down")
        self.groups.append(group.name)


@pytest.fixture
def store(metadata_database: dict[str, str]) -> PostgresStore:
    return PostgresStore(metadata_database)


@pytest.fixture
def labels(metadata_database: dict[str, str]) -> PostgresLabels:
    return PostgresLabels(metadata_database)


@pytest.fixture
def saved(store: PostgresStore, group: Group, incident: Incident) -> Incident:
    """Three variables' incident, told in the preview's channel."""
    (kept,) = store.save_incidents(group, [replace(incident, id=None)])
    return kept


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def actions(preview: Preview, group: Group, store: PostgresStore, labels: PostgresLabels, told: Told) -> SlackActions:
    return SlackActions(
        token="xoxb-test",
        groups=lambda: (group,),
        store=store,
        labels=labels,
        tell=told,
        base_url=preview.api,
        clock=lambda: datetime.now(UTC),
    )


# --- over signed HTTP -----------------------------------------------------------------------------------------------


@dataclass
class Clicks:
    """What Slack sends over HTTP."""

    http: TestClient
    preview: Preview
    channel: str

    def send(
        self,
        payload: dict[str, Any],
        *,
        at: float | None = None,
        secret: str = SECRET,
        headers: dict[str, str] | None = None,
    ) -> Any:
        body = urlencode({"payload": json.dumps(payload)})
        stamp = str(int(time.time() if at is None else at))
        signature = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
        return self.http.post(
            "/actions",
            content=body,
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Slack-Request-Timestamp": stamp,
                "X-Slack-Signature": f"v0={signature}",
                **(headers or {}),
            },
        )

    @property
    def interactions(self) -> Any:
        return self.preview.transport._app.state.interactions

    def pressed(self, action_id: str, value: object) -> dict[str, Any]:
        return {
            "type": "block_actions",
            "user": {"id": "U1", "username": "ada", "name": "ada"},
            "team": {"id": "T1"},
            "trigger_id": self.interactions.trigger(),
            "container": {"type": "message", "channel_id": self.channel, "message_ts": "1.0"},
            "channel": {"id": self.channel, "name": "alerts"},
            "response_url": f"{self.preview.origin}/respond/{self.interactions._response(self.channel)}",
            "actions": [{"type": "button", "action_id": action_id, "block_id": "b", "value": str(value)}],
        }

    def submitted(self, asked: Asked, *, kind: str = "label", **state: Any) -> dict[str, Any]:
        return {
            "type": "view_submission",
            "user": {"id": "U1", "username": "ada", "name": "ada"},
            "team": {"id": "T1"},
            "view": {
                "id": "V1",
                "type": "modal",
                "callback_id": kind,
                "private_metadata": asked.written(),
                "state": {"values": {name: {name: given} for name, given in state.items()}},
            },
        }

    def view(self) -> dict[str, Any]:
        """The dialog that is open, once it says what the label would change."""
        found: dict[str, Any] = _eventually(self._opened)
        return found

    def _opened(self) -> dict[str, Any] | None:
        found = list(self.interactions.views.values())
        return found[-1] if found and "Working out" not in json.dumps(found[-1]) else None

    def whispers(self) -> list[str]:
        return [w.text for w in self.interactions.whispers]


def _eventually(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found, "it did not happen"
    return found


@pytest.fixture
def clicks(actions: SlackActions, preview: Preview) -> Iterator[Clicks]:
    channel = preview.call("chat.postMessage", channel="#alerts", text="an incident")["channel"]
    with TestClient(http_app(lambda _: (actions, SECRET))) as http:
        yield Clicks(http, preview, channel)


@pytest.mark.parametrize("word", ["real", "false_alarm", "expected"])
def test_a_click_opens_a_dialog_that_slack_takes_and_that_says_the_effect(
    clicks: Clicks, saved: Incident, word: LabelWord
) -> None:
    assert clicks.send(clicks.pressed(f"label:{word}", saved.id)).status_code == 200
    opened = clicks.view()
    said = json.dumps(opened)
    assert "of the last 90 days' alerts" in said
    assert "carriers: 3 variables dropped" in said
    assert opened["callback_id"] == "label"
    assert Asked.read(opened["private_metadata"]) == Asked(saved.id or 0, clicks.channel, None, word)


def test_a_submitted_dialog_labels_the_incident_in_the_name_of_who_clicked_and_edits_its_message(
    clicks: Clicks, saved: Incident, labels: PostgresLabels, told: Told
) -> None:
    asked = Asked(saved.id or 0, clicks.channel, None, "false_alarm")
    answer = clicks.send(clicks.submitted(asked, reason={"type": "plain_text_input", "value": "  a test  "}))
    assert (answer.status_code, answer.text) == (200, "")
    label = _eventually(lambda: labels.of_incidents([saved.id or 0]).get(saved.id or 0))
    assert (label.word, label.author, label.via, label.reason) == ("false_alarm", "ada", "slack", "a test")
    _eventually(lambda: told.groups == ["carriers"])


def test_expected_without_a_reason_is_sent_back_with_the_mistake_at_its_field(
    clicks: Clicks, saved: Incident, labels: PostgresLabels
) -> None:
    asked = Asked(saved.id or 0, clicks.channel, None, "expected")
    answer = clicks.send(clicks.submitted(asked, reason={"type": "plain_text_input", "value": "   "})).json()
    assert answer["response_action"] == "errors"
    assert set(answer["errors"]) == {"reason"}
    assert labels.of_incidents([saved.id or 0]) == {}


def test_a_snooze_asks_what_and_how_long_and_is_kept(
    clicks: Clicks, saved: Incident, labels: PostgresLabels, group: Group
) -> None:
    clicks.send(clicks.pressed("snooze", saved.id))
    opened = clicks.view()
    (what, length) = (
        next(b for b in opened["blocks"] if b["block_id"] == name)["element"] for name in ("what", "length")
    )
    names = [o["text"]["text"] for o in what["options"]]
    assert names == [
        "All 3 variables of this incident", "dep_delay.UA", "arr_delay.UA", "dep_delay.B6", "The whole group carriers",
    ]  # fmt: skip
    submission = clicks.submitted(
        Asked.read(opened["private_metadata"]),
        kind="snooze",
        what={"type": "static_select", "selected_option": what["options"][2]},
        length={"type": "static_select", "selected_option": length["options"][0]},
    )
    sent = time.time()
    clicks.send(submission, at=sent)
    clicks.send(submission, at=sent)  # replayed
    (kept,) = _eventually(lambda: labels.snoozes(group, at=NOW + 2 * HOUR))
    assert (kept.variable, kept.author, kept.end - kept.start) == ("arr_delay.UA", "ada", LENGTHS["4h"][1])
    _eventually(lambda: any("arr_delay.UA is snoozed until" in said for said in clicks.whispers()))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"secret": "another"}, "another signature"),
        ({"seconds_ago": 400}, "signed more than five minutes ago"),
        ({"seconds_ago": -400}, "signed in the future"),
        ({"headers": {"X-Slack-Signature": "v0=00"}}, "no signature"),
    ],
)
def test_what_slack_has_not_signed_just_now_is_refused_and_does_nothing(
    clicks: Clicks, saved: Incident, labels: PostgresLabels, wrong: dict[str, Any], why: str
) -> None:
    asked = Asked(saved.id or 0, clicks.channel, None, "real")
    when = {"at": time.time() - wrong["seconds_ago"]} if "seconds_ago" in wrong else wrong
    assert clicks.send(clicks.submitted(asked, reason={"value": "x"}), **when).status_code == 401, why
    time.sleep(0.3)
    assert labels.of_incidents([saved.id or 0]) == {}


def test_a_request_that_is_replayed_gives_the_label_once_and_resurrects_nothing(
    clicks: Clicks, saved: Incident, labels: PostgresLabels, group: Group
) -> None:
    asked, at = Asked(saved.id or 0, clicks.channel, None, "false_alarm"), time.time()
    submission = clicks.submitted(asked, reason={"value": "a test"})
    clicks.send(submission, at=at)
    first = _eventually(lambda: labels.labels(group))
    retried = {"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"}
    assert clicks.send(submission, at=at, headers=retried).status_code == 200
    time.sleep(0.5)
    assert labels.labels(group) == first
    labels.take_back(first[0], at=datetime.now(UTC))
    assert clicks.send(submission, at=at).status_code == 200
    time.sleep(0.5)
    assert labels.labels(group) == ()


def test_what_is_too_long_or_of_no_length_is_refused_before_it_is_read(clicks: Clicks) -> None:
    assert clicks.http.post("/actions", content=b"x" * 1_000_001).status_code == 413
    assert clicks.http.post("/actions", content=iter([b"x"])).status_code == 413
    assert clicks.http.get("/actions").status_code == 405


def test_without_a_signing_secret_nothing_is_taken(actions: SlackActions, saved: Incident) -> None:
    with TestClient(http_app(lambda _: (actions, None))) as http:
        assert http.post("/actions", content=b"payload=1").status_code == 503


def test_a_secret_that_is_set_or_changed_holds_from_the_next_click_on(
    actions: SlackActions, preview: Preview, saved: Incident
) -> None:
    secret: list[str | None] = [None]
    channel = preview.call("chat.postMessage", channel="#alerts", text="an incident")["channel"]
    with TestClient(http_app(lambda _: (actions, secret[0]))) as http:
        clicks = Clicks(http, preview, channel)

        def answered(signed_with: str) -> int:
            return int(clicks.send(clicks.pressed("label:real", saved.id), secret=signed_with).status_code)

        assert answered(SECRET) == 503
        secret[0] = SECRET
        assert answered(SECRET) == 200
        secret[0] = "another secret"
        assert [answered(SECRET), answered("another secret")] == [401, 200]


@pytest.mark.parametrize("value", ["999", "no number", "-1"])
def test_who_presses_a_button_of_an_unknown_incident_is_told_what_to_do(clicks: Clicks, value: str) -> None:
    assert clicks.send(clicks.pressed("label:real", value)).status_code == 200
    (said,) = _eventually(clicks.whispers)
    assert f"there is no incident {value}" in said
    assert "review page" in said


def test_what_a_person_is_told_is_never_markup(
    clicks: Clicks, saved: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwatched(*_: object) -> None:
        raise StoreUnavailableError("a variable '<!channel>'")

    monkeypatch.setattr(PostgresStore, "incident", unwatched)
    clicks.send(clicks.pressed("label:real", saved.id))
    asked = Asked(saved.id or 0, clicks.channel, None, "real")
    clicks.send(clicks.submitted(asked, reason={"value": ""}))
    said = _eventually(lambda: clicks.whispers() if len(clicks.whispers()) == 2 else None)
    assert all("&lt;!channel&gt;" in words and "<!channel>" not in words for words in said)


def test_an_incident_of_a_group_that_posts_over_another_connection_is_unknown(
    clicks: Clicks, actions: SlackActions, saved: Incident, labels: PostgresLabels
) -> None:
    object.__setattr__(actions, "groups", lambda: ())
    asked = Asked(saved.id or 0, clicks.channel, None, "real")
    clicks.send(clicks.submitted(asked, reason={"value": ""}))
    (said,) = _eventually(clicks.whispers)
    assert "there is no incident" in said
    assert labels.of_incidents([saved.id or 0]) == {}


def test_who_presses_a_button_of_a_withdrawn_incident_is_told_so(
    clicks: Clicks, saved: Incident, store: PostgresStore, group: Group
) -> None:
    store.save_incidents(group, [], withdrawn=[saved.id or 0])
    clicks.send(clicks.pressed("label:real", saved.id))
    (said,) = _eventually(clicks.whispers)
    assert "was withdrawn" in said


def test_when_the_database_is_down_the_person_is_told_to_press_again(
    clicks: Clicks, actions: SlackActions, saved: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise StoreUnavailableError("the metadata database could not be reached")

    monkeypatch.setattr(PostgresStore, "incident", down)
    assert clicks.send(clicks.pressed("label:real", saved.id)).status_code == 200
    asked = Asked(saved.id or 0, clicks.channel, None, "real")
    assert clicks.send(clicks.submitted(asked, reason={"value": ""})).status_code == 200
    snooze = clicks.submitted(asked, kind="snooze", what={}, length={})
    assert clicks.send(snooze).status_code == 200
    said = _eventually(lambda: clicks.whispers() if len(clicks.whispers()) == 3 else None)
    assert all("Press the button again in a few minutes" in words for words in said)


def test_slow_work_does_not_keep_slack_waiting(
    clicks: Clicks, saved: Incident, labels: PostgresLabels, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = PostgresStore.incident

    def slow(self: PostgresStore, incident_id: int) -> Incident | None:
        time.sleep(1.5)
        return before(self, incident_id)

    monkeypatch.setattr(PostgresStore, "incident", slow)
    began = time.monotonic()
    asked = Asked(saved.id or 0, clicks.channel, None, "real")
    clicks.send(clicks.submitted(asked, reason={"value": "x"}))
    assert time.monotonic() - began < 1.4
    _eventually(lambda: labels.of_incidents([saved.id or 0]))


def test_a_label_is_kept_also_when_its_message_cannot_be_edited_now(
    clicks: Clicks, saved: Incident, labels: PostgresLabels, told: Told
) -> None:
    told.down = True
    asked = Asked(saved.id or 0, clicks.channel, None, "real")
    clicks.send(clicks.submitted(asked, reason={"value": ""}))
    _eventually(lambda: labels.of_incidents([saved.id or 0]))
    assert clicks.whispers() == []


def test_a_button_that_is_only_a_link_is_acknowledged(clicks: Clicks) -> None:
    assert clicks.send(clicks.pressed("link:review", 1)).status_code == 200


# --- over Socket Mode -----------------------------------------------------------------------------------------------


def _post(preview: Preview, path: str, **form: str) -> str:
    """A form of the preview's page, sent as a browser would; returns the page it leads to."""
    secret = preview.transport._app.state.interactions.secret
    request = Request(f"{preview.origin}{path}", urlencode({"secret": secret, **form}).encode())
    with urlopen(request, timeout=20) as answer:
        return f"{answer.geturl()}\n{answer.read().decode()}"


@pytest.fixture
def message(preview: Preview, saved: Incident) -> dict[str, str]:
    """The incident's message, with its buttons."""
    elements = [
        {"type": "button", "action_id": name, "value": str(saved.id), "text": {"type": "plain_text", "text": name}}
        for name in ("label:false_alarm", "label:expected", "snooze")
    ]
    posted = preview.call(
        "chat.postMessage", channel="#alerts", text="an incident", blocks=[{"type": "actions", "elements": elements}]
    )
    return {"channel": posted["channel"], "ts": posted["ts"]}


@pytest.fixture
def listening(actions: SlackActions) -> Iterator[None]:
    handler = listener(actions, "xapp-test")
    handler.connect()  # type: ignore[no-untyped-call]
    yield
    handler.close()  # type: ignore[no-untyped-call]


@pytest.mark.usefixtures("listening")
def test_over_socket_mode_a_click_a_dialog_and_its_submission_give_the_label(
    preview: Preview, message: dict[str, str], saved: Incident, labels: PostgresLabels
) -> None:
    page = _post(preview, "/press", action="label:expected", **message)
    assert "Removes 0 of the last 90 days" in page
    view = page.split("view=")[1].split("&")[0]
    again = _post(preview, f"/views/{view}", reason="  ", **message)
    assert "Say what was planned" in again
    done = _post(preview, f"/views/{view}", reason="we are migrating", **message)
    assert 'role="dialog"' not in done
    label = _eventually(lambda: labels.of_incidents([saved.id or 0]).get(saved.id or 0))
    assert (label.word, label.author, label.reason) == ("expected", "you", "we are migrating")


@pytest.mark.usefixtures("listening")
def test_over_socket_mode_a_dialog_can_be_cancelled_and_opened_again(
    preview: Preview, message: dict[str, str], group: Group, labels: PostgresLabels
) -> None:
    page = _post(preview, "/press", action="snooze", **message)
    view = page.split("view=")[1].split("&")[0]
    assert 'role="dialog"' not in _post(preview, f"/views/{view}", cancel="1", **message)
    assert 'role="dialog"' in _post(preview, "/press", action="snooze", **message)
    assert labels.labels(group) == ()


def test_where_nobody_listens_the_page_says_so(preview: Preview, message: dict[str, str]) -> None:
    assert "Nobody listens to buttons here" in _post(preview, "/press", action="snooze", **message)


def test_a_page_elsewhere_can_press_no_button_of_the_preview(preview: Preview, message: dict[str, str]) -> None:
    with pytest.raises(HTTPError, match="403"):
        _post(preview, "/press", action="snooze", **(message | {"secret": "guessed"}))


def test_a_token_that_is_not_an_app_level_one_is_refused(actions: SlackActions) -> None:
    with pytest.raises(ConfigurationError, match="xapp-"):
        listener(actions, "xoxb-test")


# --- dialogs --------------------------------------------------------------------------------------------------------


def test_dialogs_stay_within_slacks_limits_whatever_variables_are_called(group: Group, incident: Incident) -> None:
    part = incident.variables[0]
    names = ["x" * 300, "<!channel> `code` & <b>", " ", "é" * 200, *(f"v{n}" for n in range(40))]
    parts = tuple(replace(part, variable=name) for name in names)
    many = replace(incident, variables=parts)
    effect = Effect("false_alarm", 90, 9, 7, 0, 3, 0, dict.fromkeys(names[:10], (1.0, 1 / 3)), 40)
    before = Label("carriers", incident.start, incident.end, ("a",), "real", "<ada>", "page", NOW, "r" * 5000)
    for word in ("real", "false_alarm", "expected"):
        asked = Asked(7, "C1", None, word)
        assert views.problems(label_view(group, many, asked, effect=effect, before=before)) == []
        assert views.problems(label_view(group, many, asked, effect=None, before=None)) == []
    assert views.problems(snooze_view(group, many, Asked(7, "C1"))) == []
    assert "<!channel>" not in json.dumps(label_view(group, many, asked, effect=effect, before=before))


def test_a_view_that_slack_would_refuse_is_refused_here(group: Group, incident: Incident) -> None:
    view = snooze_view(group, incident, Asked(7, "C1"))
    assert views.problems({**view, "title": {"type": "plain_text", "text": "x" * 25}}) == [
        "must be less than 25 characters [json-pointer:/view/title/text]"
    ]
    assert "missing required field: submit" in views.problems({k: v for k, v in view.items() if k != "submit"})[0]


def test_what_a_dialog_carries_comes_back_as_it_went(incident: Incident) -> None:
    asked = Asked(7, "C1", "1.0", "real")
    assert Asked.read(asked.written()) == asked
    with pytest.raises(ValueError, match="expected what a dialog"):
        Asked.read('{"incident": 1, "channel": "C", "word": "nonsense"}')
