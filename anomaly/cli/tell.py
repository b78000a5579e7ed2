"""``anomaly tell``: what there is to say goes out, without looking for incidents.

In: a group's name. Out: a sentence. Every run of alert does the same at its end; this is for the time between two: at
the end of quiet hours, at the digest's hour, or once Slack is back.
"""

from __future__ import annotations

from typing import Annotated

import typer

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name of a group, as its file is called.")]


def tell(group: GroupName) -> None:
    """Delivers what is due: messages, replies, the digest, the weekly post. Each once, however often this runs.

    Example: `anomaly tell carriers`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import run_tell

    typer.echo(run_tell(_world(), _group(group)))
