"""``anomaly slack``: takes the clicks on messages' buttons.

In: Slack connections with an app-level token. Out: labels, snoozes, edited messages, until Ctrl-C.
"""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from anomaly.exceptions import ConfigurationError

slack_app = typer.Typer(help="The buttons of messages in Slack.", no_args_is_help=True)


@slack_app.callback()
def _slack() -> None:
    """Keeps `listen` a command of its own while it is the only one."""


@slack_app.command("listen")
def listen(
    connection: Annotated[
        str | None, typer.Option(metavar="ID", help="One Slack connection; without it, all that groups name.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of what happens.")] = False,
) -> None:
    """Takes clicks over Socket Mode, until Ctrl-C. Nothing has to be reachable from outside.

    Needs an app-level token (`xapp-…`, scope `connections:write`) as `app_token` in the extra of the Slack connection,
    and Socket Mode and Interactivity turned on in the Slack app. More than one may listen: Slack gives each click to
    one of them. Where the Airflow UI can be reached from the internet, `signing_secret` in the extra and the Request
    URL `https://…/anomaly-slack/actions` do without it.

    Example: `anomaly slack listen`
    """
    from anomaly.adapters.slack_actions import listener
    from anomaly.cli.app import _log, _world
    from anomaly.orchestration.slack_clicks import app_token, connections_of, slack_actions

    _log(verbose=verbose)
    world = _world()
    asked = [connection] if connection else list(connections_of(world))
    tokens = {each: app_token(world, each) for each in asked}
    if not any(tokens.values()):
        raise ConfigurationError(
            f"no app-level token: the extra of connection {' or '.join(asked) or '(no group names one)'} has no "
            'app_token, for example {"app_token": "xapp-…"}; see `anomaly slack listen --help`'
        )
    handlers = [listener(slack_actions(world, each), token) for each, token in tokens.items() if token]
    try:
        for handler in handlers:
            handler.connect()  # type: ignore[no-untyped-call]
        typer.echo(f"Listening to clicks over {', '.join(each for each, token in tokens.items() if token)}.")
        threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("Done.")
    finally:
        for handler in handlers:
            handler.close()  # type: ignore[no-untyped-call]
