"""What clicks in Slack need of the world: one set of handlers per Slack connection.

In: settings, connections, group files. Out: `anomaly.adapters.slack_actions.SlackActions` for the command line's
listener and for the HTTP route that the plugin mounts.
"""

from __future__ import annotations

from collections.abc import Callable

from anomaly.adapters.slack_actions import SlackActions
from anomaly.adapters.world import World
from anomaly.exceptions import ConfigurationError
from anomaly.groups import Group
from anomaly.orchestration.group_files import readable_groups
from anomaly.orchestration.running import run_tell

PREFIX = "/anomaly-slack"
"""Where the plugin mounts the HTTP route; the Interactivity Request URL ends in ``/anomaly-slack/actions``."""


def connections_of(world: World) -> tuple[str, ...]:
    """Ids of the Slack connections that groups name."""
    return tuple(sorted({group.slack.connection for group in readable_groups(world.settings.groups)}))


def slack_actions(world: World, connection_id: str) -> SlackActions:
    """What clicks on messages of this connection do.

    Raises:
        ConfigurationError: no group names it, or there is no such connection.
    """
    _refuse_unknown(world, connection_id)
    connection = world.connection(connection_id)

    def groups() -> tuple[Group, ...]:
        """As their files are at the moment of a click."""
        return tuple(g for g in readable_groups(world.settings.groups) if g.slack.connection == connection_id)

    return SlackActions(
        token=connection.password or "",
        groups=groups,
        store=world.store(),
        labels=world.labels(),
        tell=lambda group: run_tell(world, group),
        base_url=connection.extra.get("base_url"),
    )


def signed_actions(world: Callable[[], World]) -> Callable[[str], tuple[SlackActions, str | None]]:
    """For the HTTP route: handlers and signing secret of a connection."""

    def of(connection_id: str) -> tuple[SlackActions, str | None]:
        there = world()
        found = slack_actions(there, connection_id)
        return found, there.connection(connection_id).extra.get("signing_secret")

    return of


def app_token(world: World, connection_id: str) -> str | None:
    """For Socket Mode; None where the connection has none."""
    return world.connection(connection_id).extra.get("app_token")


def _refuse_unknown(world: World, connection_id: str) -> None:
    known = connections_of(world)
    if connection_id not in known:
        raise ConfigurationError(
            f"no group posts over Slack connection {connection_id!r}; the groups name {', '.join(known) or 'none'}"
        )
