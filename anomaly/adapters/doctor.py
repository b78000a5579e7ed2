"""Checks of everything an installation stands on: what is found, and what to do where it is not as it should be.

In: a `World` and its groups. Out: `Finding` after `Finding`, each ok, a warning or a failure. Every check runs in a
thread of its own with a time limit, all at once; one that fails, hangs or has a defect of its own costs the others
nothing.
Nothing is changed, but for a small file in the artifact store that is written, read and deleted again.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from anomaly.adapters.connections import Connection
from anomaly.adapters.postgres.connecting import connected, where
from anomaly.adapters.settings import DATABASE_CONNECTION, Settings
from anomaly.adapters.world import World
from anomaly.exceptions import AnomalyError, ConfigurationError, SourceUnavailableError, StoreUnavailableError
from anomaly.groups import Group
from anomaly.groups.dag_ids import dag_ids
from anomaly.groups.durations import format_duration

State = Literal["ok", "warning", "failed"]
STATES: tuple[State, ...] = ("ok", "warning", "failed")

TIMEOUT = timedelta(seconds=20)
"""For one check."""
HTTP_SECONDS = 8
CLOCKS_APART = timedelta(seconds=5)
"""Clocks that differ by more are warned of: rows seem to come from the future, Slack refuses signatures."""
LEAST_POSTGRES = 140_000
SCARCE_SPACE, NO_SPACE = 2 * 1024**3, 200 * 1024**2
"""Free bytes below which is warned, and below which it fails."""
STALE_INTERVALS = 3
UNFINISHED = timedelta(days=1)
WAITING = timedelta(hours=1)
SCOPES = {
    "chat:write": "posts and edits messages",
    "files:write": "uploads charts",
    "channels:read": "finds public channels",
    "channels:history": "finds its own messages again",
}
PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found of one thing."""

    check: str
    about: str
    """Of which connection, group or folder; '' where there is one only."""
    state: State
    found: str
    do: str = ""
    """What to do; '' where it is ok."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at."""

    name: str
    about: str
    look: Callable[[], Iterable[Finding]]


class _Noted:
    """Makes findings of one check."""

    def __init__(self, check: str, about: str = "") -> None:
        self._check, self._about = check, about

    def ok(self, found: str) -> Finding:
        return Finding(self._check, self._about, "ok", found)

    def warning(self, found: str, do: str) -> Finding:
        return Finding(self._check, self._about, "warning", found, do)

    def failed(self, found: str, do: str) -> Finding:
        return Finding(self._check, self._about, "failed", found, do)


def examined(checks: Sequence[Check], *, timeout: timedelta = TIMEOUT) -> Iterator[Finding]:
    """The findings of all checks, in their order; each check has the time limit from the beginning on."""
    results: dict[int, list[Finding]] = {}

    def look(at: int, check: Check) -> None:
        try:
            results[at] = list(check.look())
        except AnomalyError as said:
            results[at] = [Finding(check.name, check.about, "failed", *_advice(said))]
        except Exception as defect:  # noqa: BLE001 - a check's own defect is a finding too, and the others go on
            results[at] = [
                Finding(
                    check.name,
                    check.about,
                    "failed",
                    f"the check itself failed: {type(defect).__name__}: {defect}",
                    "report it with this text",
                )
            ]

    # Daemons: a check that hangs must not keep the command from ending.
    threads = [threading.Thread(target=look, args=pair, daemon=True) for pair in enumerate(checks)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + timeout.total_seconds()
    for at, (thread, check) in enumerate(zip(threads, checks, strict=True)):
        thread.join(max(0.0, until - time.monotonic()))
        yield from results.get(
            at,
            [
                Finding(
                    check.name,
                    check.about,
                    "failed",
                    f"no answer within {timeout.total_seconds():g} s",
                    "see whether it is overloaded or a firewall drops the packets; --timeout gives it longer",
                )
            ],
        )


def _advice(said: AnomalyError) -> tuple[str, str]:
    """(found, what to do), from a message that says both."""
    found, _, do = str(said).partition("; ")
    return (found, do) if do else (found, "see the message")


def all_checks(world: World, groups: Sequence[Group]) -> list[Check]:
    """Everything there is to look at: first what all groups share, then each source, channel and group."""
    _imported()
    settings = world.settings
    slack = {
        group.slack.connection: [g for g in groups if g.slack.connection == group.slack.connection] for group in groups
    }
    return [
        Check("versions", "", versions),
        Check("metadata database", DATABASE_CONNECTION, lambda: metadata_database(world)),
        Check("artifacts", settings.artifacts, lambda: artifacts(settings)),
        Check("MLflow", settings.mlflow_tracking_uri or "", lambda: mlflow(settings)),
        Check("Airflow", settings.link_airflow or "", lambda: airflow(settings, groups)),
        Check("disk", "", lambda: disk(settings)),
        *(Check("Slack", name, _bound(slack_connection, world, name, own)) for name, own in slack.items()),
        *(Check("source", group.name, _bound(source, world, group)) for group in groups),
        *(Check("group", group.name, _bound(group_state, world, group)) for group in groups),
    ]


def _imported() -> None:
    """What several checks import, before their threads begin: two that import the same cycle wait for each other."""
    for name in (
        *("alembic.script", "boto3", "slack_sdk.errors", "sqlalchemy.sql"),
        *("anomaly.adapters.artifacts", "anomaly.adapters.postgres.source", "anomaly.adapters.postgres.store"),
    ):
        importlib.import_module(name)


def _bound(look: Callable[..., Iterable[Finding]], *arguments: Any) -> Callable[[], Iterable[Finding]]:
    return lambda: look(*arguments)


# --- this machine -------------------------------------------------------------------------------------------------


def versions(lock: Path | None = None) -> Iterator[Finding]:
    """Python, and the libraries against the lock file where there is one."""
    note = _Noted("versions")
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if sys.version_info[:2] != PYTHON:
        yield note.failed(python, f"Python {PYTHON[0]}.{PYTHON[1]} is needed: make the environment anew with it")
    else:
        yield note.ok(python)
    lock = lock or Path(__file__).parents[2] / "requirements.lock"
    if not lock.is_file():
        return
    locked: dict[str, set[str]] = {}  # one line for each platform and Python that needs another version
    for name, version in re.findall(
        r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE
    ):
        locked.setdefault(_normal(name), set()).add(version)
    installed = _installed()
    others = sorted(
        f"{name} {installed[name]} instead of {' or '.join(sorted(wanted))}"
        for name, wanted in locked.items()
        if name in installed and installed[name] not in wanted
    )
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        yield note.warning(
            f"{len(others)} libraries are not those of the lock file: {', '.join(others[:5])}{more}",
            "install them as locked: pip install --require-hashes -r requirements.lock",
        )
    else:
        yield note.ok(f"{len(locked.keys() & installed.keys())} libraries as in {lock.name}")


@cache
def _installed() -> Mapping[str, str]:
    """Version by name; reading them all takes a second."""
    return {_normal(found.name): found.version for found in importlib.metadata.distributions()}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def disk(settings: Settings) -> Iterator[Finding]:
    """Free space where files are written."""
    folders = {"validation results": settings.validations}
    if "://" not in settings.artifacts:
        folders["artifacts"] = Path(settings.artifacts)
    for what, folder in folders.items():
        note = _Noted("disk", what)
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        usage = shutil.disk_usage(there)
        free = f"{usage.free / 1024**3:,.1f} GiB free of {usage.total / 1024**3:,.0f} at {folder}"
        if usage.free < NO_SPACE:
            yield note.failed(free, "make room, or move it to another disk")
        elif usage.free < SCARCE_SPACE:
            yield note.warning(free, "make room before it is full: models and charts are kept for good")
        else:
            yield note.ok(free)
        if not os.access(there, os.W_OK):
            yield note.failed(
                f"{there} may not be written to by this user", "give it the right, or name another folder"
            )


# --- databases ----------------------------------------------------------------------------------------------------


def metadata_database(world: World) -> Iterator[Finding]:
    """Connection, version, migrations, rights, clock."""
    note = _Noted("metadata database", DATABASE_CONNECTION)
    arguments = world.connection(DATABASE_CONNECTION).postgres_arguments()
    with (
        connected(arguments, unavailable=StoreUnavailableError, what="the metadata database") as link,
        link.cursor() as cursor,
    ):
        yield from _server(cursor, note, arguments, link.server_version)
        cursor.execute("SELECT to_regclass('anomaly_revision')")
        ((there,),) = cursor.fetchall()
        revision = None
        if there is not None:
            cursor.execute("SELECT version_num FROM anomaly_revision")
            revision = next((number for (number,) in cursor.fetchall()), None)
        newest = newest_revision()
        if revision is None:
            yield note.failed("it has no tables of ours", "run: anomaly db upgrade")
            return
        if revision != newest:
            yield note.failed(
                f"its tables are at revision {revision}, this version needs {newest}",
                "run: anomaly db upgrade" if revision < newest else "it was used by a newer version: install that",
            )
            return
        yield note.ok(f"tables are at revision {revision}")
        cursor.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' "
            "AND nspname = current_schema AND NOT has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE')"
        )
        barred = [name for (name,) in cursor.fetchall()]
        cursor.execute("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean")
        ((read_only,),) = cursor.fetchall()
        if barred:
            yield note.failed(f"its role may not write to {', '.join(barred[:5])}", "let the role own the tables")
        elif read_only:
            yield note.failed("it takes no writes: a replica, or read only", "name the primary in the connection")
        else:
            yield note.ok("its role may read and write")


def newest_revision() -> str:
    """Of the migrations that this version brings."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(str(Path(__file__).parent / "postgres" / "migrations")).get_current_head()
    return head or ""


def _server(cursor: Any, note: _Noted, arguments: Mapping[str, str], version: int) -> Iterator[Finding]:
    """Reached, of a version that will do, with a clock like ours."""
    asked = datetime.now(UTC)
    cursor.execute("SELECT clock_timestamp(), current_setting('server_version')")
    ((clock, shown),) = cursor.fetchall()
    if version < LEAST_POSTGRES:
        yield note.failed(f"PostgreSQL {shown}", "PostgreSQL 14 or later is needed")
    else:
        yield note.ok(f"reached {where(arguments)}, PostgreSQL {shown}")
    yield from _clock(note, clock, asked)


def source(world: World, group: Group) -> Iterator[Finding]:
    """Connection, columns, rights, the index on the time, clock."""
    note = _Noted("source", group.name)
    arguments = world.connection(group.source.connection).postgres_arguments()
    from anomaly.adapters.postgres.source import PostgresSource

    reader = PostgresSource(group, arguments, suites=world.settings.expectations)
    with connected(arguments, unavailable=SourceUnavailableError, what="the source") as link, link.cursor() as cursor:
        yield from _server(cursor, note, arguments, link.server_version)
        reader.check()
        yield note.ok(f"{group.source.table or 'the query'} has the columns it should")
        yield from _read_only(cursor, note)
        yield from _index(cursor, note, group)


def _read_only(cursor: Any, note: _Noted) -> Iterator[Finding]:
    cursor.execute(
        "SELECT r.rolsuper, pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean, "
        "(SELECT string_agg(relname, ', ') FROM (SELECT relname FROM pg_class c JOIN pg_namespace n "
        " ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND nspname NOT IN ('pg_catalog', 'information_schema') "
        " AND nspname NOT LIKE 'pg\\_%' AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') "
        " ORDER BY 1 LIMIT 3) AS writable) FROM pg_roles AS r WHERE rolname = current_user"
    )
    ((superuser, read_only, writable),) = cursor.fetchall()
    if superuser and not read_only:
        yield note.warning(
            "its role is a superuser", "make a role that may only read: CREATE ROLE …; GRANT SELECT ON …; and use that"
        )
    elif writable and not read_only:
        yield note.warning(
            f"its role may also write ({writable})",
            f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {writable} from it; every transaction of ours is read-only, "
            "but a role that cannot write needs no trust",
        )
    else:
        yield note.ok("its role may only read")


def _index(cursor: Any, note: _Noted, group: Group) -> Iterator[Finding]:
    from anomaly.adapters.postgres import batch

    table = group.source.table
    if table is None:
        return
    quoted = ".".join(batch.identifier(part) for part in batch.table_parts(table))
    cursor.execute(
        "SELECT c.relkind, a.attname FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid "
        "AND i.indpred IS NULL LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] "
        "WHERE c.oid = to_regclass(%s)",
        (quoted,),
    )
    rows = cursor.fetchall()
    column = group.source.columns.timestamp
    if rows and rows[0][0] not in {"r", "p", "m"}:
        return
    if column in {name for _, name in rows}:
        yield note.ok(f"an index begins with {column}")
    else:
        yield note.warning(
            f"no index of {table} begins with {column}, so every update reads the whole table",
            f"CREATE INDEX CONCURRENTLY ON {quoted} ({batch.identifier(column)})",
        )


# --- servers ------------------------------------------------------------------------------------------------------


def artifacts(settings: Settings) -> Iterator[Finding]:
    """A small file, written, read and deleted."""
    from anomaly.adapters.artifacts import Artifacts

    note = _Noted("artifacts", settings.artifacts)
    store = Artifacts(settings.artifacts, s3_endpoint=settings.s3_endpoint)
    uri, content = f"{store.root}/doctor/{uuid.uuid4().hex}.txt", b"written by anomaly doctor; may be deleted\n"
    store.write(uri, content)
    try:
        store.read(uri, sha256=hashlib.sha256(content).hexdigest())
    finally:
        store.delete(uri)
    yield note.ok("a file was written, read and deleted")


def mlflow(settings: Settings) -> Iterator[Finding]:
    """That the server answers, its version, and its clock."""
    address = settings.mlflow_tracking_uri
    note = _Noted("MLflow", address or "")
    if address is None:
        yield note.failed(
            "MLFLOW_TRACKING_URI is not set",
            "set it to the server's address, such as http://127.0.0.1:5000; fit needs it",
        )
        return
    if urlsplit(address).scheme not in {"http", "https"}:
        yield note.warning(f"{address} is no server", "a server lets the team review models: mlflow server …")
        return
    asked = datetime.now(UTC)
    status, headers, _ = _get(f"{address.rstrip('/')}/health")
    if status != 200:
        yield note.failed(f"/health answers with HTTP {status}", "see the server's log")
        return
    _, _, body = _get(f"{address.rstrip('/')}/version")
    theirs, ours = body.decode(errors="replace").strip(), importlib.metadata.version("mlflow")
    if theirs.split(".")[:1] != ours.split(".")[:1]:
        yield note.warning(
            f"the server is MLflow {theirs[:20]}, this is {ours}", "bring both to the same major version"
        )
    else:
        yield note.ok(f"answers, MLflow {theirs[:20]}")
    yield from _clock(note, _date(headers), asked)


def airflow(settings: Settings, groups: Sequence[Group]) -> Iterator[Finding]:
    """That it is healthy, and has the groups' DAGs without import errors."""
    address = (settings.link_airflow or "").rstrip("/")
    note = _Noted("Airflow", address)
    if not address:
        yield note.ok("not asked: ANOMALY_LINK_AIRFLOW is not set")
        return
    asked = datetime.now(UTC)
    status, headers, body = _get(f"{address}/api/v2/monitor/health")
    if status != 200:
        yield note.failed(f"/api/v2/monitor/health answers with HTTP {status}", "see the API server's log")
        return
    sick = [
        name
        for name, part in json.loads(body).items()
        if isinstance(part, dict) and part.get("status") not in {"healthy", None}
    ]
    if sick:
        yield note.failed(f"unhealthy: {', '.join(sorted(sick))}", "start them, or see their logs")
    else:
        yield note.ok("healthy")
    yield from _clock(note, _date(headers), asked)
    token = settings.airflow_token or _airflow_token(address)
    if token is None:
        yield note.warning(
            "whether its DAGs are parsed cannot be seen without a token",
            "set ANOMALY_AIRFLOW_TOKEN to one of the REST API (POST /auth/token with a user and password)",
        )
        return
    yield from _dags(note, address, token, groups)


def _airflow_token(address: str) -> str | None:
    """One that is given to everybody, as the embedded Airflow does."""
    status, _, body = _get(f"{address}/auth/token")
    if status not in {200, 201}:
        return None
    try:
        return str(json.loads(body)["access_token"])
    except (ValueError, KeyError, TypeError):
        return None


def _dags(note: _Noted, address: str, token: str, groups: Sequence[Group]) -> Iterator[Finding]:
    bearer = {"Authorization": f"Bearer {token}"}
    status, _, body = _get(f"{address}/api/v2/importErrors?limit=20", bearer)
    if status != 200:
        yield note.warning(
            f"it refuses to say its import errors (HTTP {status})",
            "renew ANOMALY_AIRFLOW_TOKEN, of a role that may read",
        )
        return
    for error in json.loads(body)["import_errors"]:
        last = str(error["stack_trace"]).strip().splitlines()[-1:]
        yield note.failed(
            f"{error['filename']} cannot be imported: {''.join(last)}", "mend the file: anomaly groups check"
        )
    missing = []
    for group in groups:
        for dag in dag_ids(group):
            status, _, body = _get(f"{address}/api/v2/dags/{dag}", bearer)
            if status != 200:
                missing.append(dag)
            elif json.loads(body).get("is_paused"):
                yield note.warning(f"DAG {dag} is paused", "switch it on in the Airflow UI")
    if missing:
        yield note.failed(
            f"it has no DAG {', '.join(missing[:5])}",
            "see that its dags folder is this one, and ANOMALY_GROUPS its groups",
        )
    else:
        yield note.ok(f"has the DAGs of {len(groups)} {'group' if len(groups) == 1 else 'groups'}")


def slack_connection(world: World, name: str, groups: Sequence[Group]) -> Iterator[Finding]:
    """That the token is good and has the scopes, that the bot is in each channel, and Slack's clock."""
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

    note = _Noted("Slack", name)
    try:
        connection = world.connection(name)
    except ConfigurationError as missing:
        example = f'AIRFLOW_CONN_{name.upper()}=\'{{"conn_type": "slack", "password": "xoxb-…"}}\''
        yield note.failed(str(missing).partition("; ")[0], f"set it, for example {example}")
        return
    if not connection.password:
        yield note.failed("the connection has no token", "put the bot's token (xoxb-…) into its password")
        return
    client = _slack(connection, WebClient)
    asked = datetime.now(UTC)
    try:
        told = client.auth_test()
    except SlackApiError as refused:
        error = refused.response["error"]
        yield note.failed(f"auth.test answers {error}", "install the app again and renew the token in the connection")
        return
    yield note.ok(f"signed in as {told.get('user')} of {told.get('team')}")
    headers = {str(key).lower(): value for key, value in (told.headers or {}).items()}
    yield from _clock(note, _date(headers), asked)
    yield from _scopes(note, headers.get("x-oauth-scopes"))
    yield from _buttons(note, connection, client)
    there = _channels(client)
    for channel in sorted({channel for group in groups for channel in channels_of(group)}):
        member = there.get(channel.removeprefix("#"))
        if member is None:
            yield note.failed(
                f"there is no channel {channel}, or the bot cannot see it", "create it, and /invite the bot"
            )
        elif not member:
            yield note.failed(f"the bot is not in {channel}", f"in {channel}, write: /invite @{told.get('user')}")
        else:
            yield note.ok(f"is in {channel}")


def channels_of(group: Group) -> set[str]:
    """Every channel that the group's file names."""
    written = json.dumps(group.slack.model_dump(mode="json"))
    return set(re.findall(r'"(#[\w-]+|[CG][A-Z0-9]{8,})"', written))


def _slack(connection: Connection, client: Any) -> Any:
    made = client(
        token=connection.password, base_url=connection.extra.get("base_url") or client.BASE_URL, timeout=HTTP_SECONDS
    )
    made.proxy = None  # urllib reads the proxy variables itself, NO_PROXY included
    return made


def _scopes(note: _Noted, told: str | None) -> Iterator[Finding]:
    if told is None:
        return
    given = {scope.strip() for scope in told.split(",")}
    lacking = {scope: why for scope, why in SCOPES.items() if scope not in given}
    if lacking:
        yield note.failed(
            f"the bot lacks {', '.join(f'{scope} ({why})' for scope, why in lacking.items())}",
            "add them under OAuth & Permissions, and install the app again",
        )
    else:
        yield note.ok(f"has the scopes it needs: {', '.join(SCOPES)}")


def _buttons(note: _Noted, connection: Connection, client: Any) -> Iterator[Finding]:
    """Whether clicks can arrive."""
    from slack_sdk.errors import SlackApiError

    token = connection.extra.get("app_token")
    if token:
        try:
            client.apps_connections_open(app_token=token)
        except SlackApiError as refused:
            yield note.failed(
                f"Socket Mode is refused: {refused.response['error']}",
                "make an app-level token with the scope connections:write, turn Socket Mode on, and put the token into "
                "the connection's extra as app_token",
            )
        else:
            yield note.ok("clicks can arrive over Socket Mode, while `anomaly slack listen` runs")
    elif connection.extra.get("signing_secret"):
        yield note.ok("clicks can arrive over HTTP")
    else:
        yield note.ok("messages have no buttons: the extra has neither app_token nor signing_secret")


def _channels(client: Any) -> dict[str, bool]:
    """Whether the bot is in it, by name and by id."""
    from slack_sdk.errors import SlackApiError

    found: dict[str, bool] = {}
    for kinds in ("public_channel,private_channel", "public_channel"):
        try:
            for page in client.conversations_list(types=kinds, exclude_archived=True, limit=999):
                for channel in page["channels"]:
                    found[channel["name"]] = found[channel["id"]] = bool(channel.get("is_member"))
            break
        except SlackApiError as refused:  # without groups:read, private channels cannot be listed
            if refused.response["error"] != "missing_scope":
                raise
    return found


# --- groups -------------------------------------------------------------------------------------------------------


def group_state(world: World, group: Group) -> Iterator[Finding]:
    """Whether it is counted up to now, has a model, and has told what there was to tell."""
    note = _Noted("group", group.name)
    arguments = world.connection(DATABASE_CONNECTION).postgres_arguments()
    store, now = world.store(), datetime.now(UTC)
    yield from _counted(note, group, store.updated_until(group), now)
    champion = store.champion(group)
    if champion is None:
        yield note.warning("it has no model yet, so nothing is judged", f"run: anomaly fit {group.name}")
    else:
        yield note.ok(f"version {champion.model_version} serves")
    with (
        connected(arguments, unavailable=StoreUnavailableError, what="the metadata database") as link,
        link.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT id, state FROM fits WHERE group_name = %s AND state IN ('started', 'trained') AND created_at < %s "
            "ORDER BY created_at DESC LIMIT 3",
            (group.name, now - UNFINISHED),
        )
        for number, state in cursor.fetchall():
            yield note.warning(
                f"fit {number} was {state} and never finished",
                f"see the log of its run in Airflow, or ignore it: the next one begins anew (anomaly fit {group.name})",
            )
        cursor.execute(
            "SELECT count(*), min(o.created_at), (array_agg(o.last_error ORDER BY o.id DESC) FILTER "
            "(WHERE o.last_error IS NOT NULL))[1] FROM outbox o JOIN incidents i ON i.id = o.incident_id "
            "WHERE i.group_name = %s AND o.delivered_at IS NULL",
            (group.name,),
        )
        ((waiting, since, error),) = cursor.fetchall()
    if waiting and error:
        yield note.failed(
            f"{waiting} messages wait since {since:%Y-%m-%d %H:%M} UTC: {error}", "see the check of Slack"
        )
    elif waiting and now - since > WAITING:
        yield note.warning(
            f"{waiting} messages wait since {since:%Y-%m-%d %H:%M} UTC", f"run: anomaly alert {group.name}, or its DAG"
        )
    else:
        yield note.ok("no message is stuck")


def _counted(note: _Noted, group: Group, until: datetime | None, now: datetime) -> Iterator[Finding]:
    if until is None:
        yield note.warning("it was never counted", f"run: anomaly update {group.name} --start … --end …, or its DAG")
        return
    if group.schedule.end is not None and until >= group.floor(group.schedule.end):
        yield note.ok(f"counted until {until:%Y-%m-%d %H:%M} UTC, the end of its schedule")
        return
    behind = (now - group.schedule.delay - until) // group.interval
    said = f"counted until {until:%Y-%m-%d %H:%M} UTC"
    if behind > STALE_INTERVALS:
        yield note.warning(
            f"{said}, {behind:,} intervals of {format_duration(group.interval)} ago",
            f"see whether DAG anomaly.{group.name} is on and its runs succeed",
        )
    else:
        yield note.ok(said)


# --- what they share ----------------------------------------------------------------------------------------------


def _get(address: str, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], bytes]:
    """(status, headers in lower case, body).

    Raises:
        StoreUnavailableError: no answer.
    """
    if urlsplit(address).scheme not in {"http", "https"}:
        raise StoreUnavailableError(f"{address} is no http address; correct the setting")
    request = urllib.request.Request(address, headers=dict(headers or {}))  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answer:  # noqa: S310
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read(5_000_000)
    except urllib.error.HTTPError as refused:
        return refused.code, {k.lower(): v for k, v in refused.headers.items()}, refused.read(100_000)
    except (OSError, ValueError) as silent:
        reason = getattr(silent, "reason", silent)
        raise StoreUnavailableError(
            f"{address} does not answer ({reason}); check that it runs, and its address"
        ) from silent


def _date(headers: Mapping[str, Any]) -> datetime | None:
    written = headers.get("date")
    try:
        return parsedate_to_datetime(written[0] if isinstance(written, list) else str(written))
    except (TypeError, ValueError):
        return None


def _clock(note: _Noted, theirs: datetime | None, asked: datetime) -> Iterator[Finding]:
    """Warns when a clock is not between when it was asked and when it answered, give or take."""
    if theirs is None:
        return
    answered = datetime.now(UTC)
    ahead = max(theirs - answered, asked - theirs - timedelta(seconds=1), timedelta(0))  # HTTP tells whole seconds
    if ahead > CLOCKS_APART:
        way = "ahead of" if theirs > answered else "behind"
        yield note.warning(
            f"its clock is {ahead.total_seconds():,.0f} s {way} this machine's", "synchronise both by NTP (timedatectl)"
        )
