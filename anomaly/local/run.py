"""`make run` and `make up`: the embedded stack from nothing to incidents, in one command.

Starts the stack, loads the sample, takes every group through its DAGs by way of the scheduler, prints what was
found, writes ``var/summary.json``, and stops everything (or stays up until Ctrl-C).
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Never

from rich.console import Console
from rich.markup import escape

from anomaly.adapters.postgres.store import PostgresStore
from anomaly.exceptions import AnomalyError, ConfigurationError
from anomaly.groups import Group, load_groups
from anomaly.local.addresses import Addresses
from anomaly.local.airflow_api import AirflowApi, AirflowApiError, Task
from anomaly.local.places import Places, groups_folder
from anomaly.local.plan import Run, parse_until, runs_of
from anomaly.local.progress import Told
from anomaly.local.stack import Stack, running_stack, start_listener
from anomaly.local.summary import Summary, shown_path, summarise

POLL_SECONDS = 0.7
LONG_POLL_SECONDS = 2.0
"""Of a story of many runs: asked all the time, Airflow's API takes a tenth of the machine."""
LONG_STORY = 100
"""Runs, of all groups."""
PARSE_SECONDS = 120.0
"""How long the DAG processor may take to find the DAGs."""


class RunFailedError(AnomalyError):
    """The runs could not even begin. The message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make run", description="The embedded stack on a year of real flights.")
    parser.add_argument("--until", help="last day to run, such as 2013-12-31; default: the blizzard's week")
    parser.add_argument("--stay", action="store_true", help="stay up until Ctrl-C")
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(stderr=False, width=None if sys.stdout.isatty() else 140)
    try:
        until = parse_until(given.until)
        groups = load_groups(groups_folder())
        places, addresses = Places.from_environment(), Addresses.from_environment()
        told = Told(console)
        told.line(f"Starting the stack; all it writes is under {shown_path(places.root)}")
        with running_stack(places, addresses, told.line) as stack:
            with told:
                failures = _story(stack, groups, [deque(runs_of(group, until)) for group in groups], told)
            summary = summarise(groups, PostgresStore(stack.server.arguments("anomaly")))
            summary.write(places.summary)
            _show(summary, stack, console, stays=given.stay)
            for failure in failures:
                console.print(f"\n[bold red]Failed:[/] {escape(failure)}", highlight=False, soft_wrap=True)
            if given.stay:
                _stay(stack, console)
        told.line("Everything is stopped")
    except AnomalyError as error:
        console.print(f"[bold red]Stopped:[/] {escape(str(error))}", highlight=False)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped")
        return 130
    return 1 if failures else 0


def _interrupt(number: int, frame: FrameType | None) -> Never:  # noqa: ARG001
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@dataclass(slots=True)
class _Lane:
    """One group's way through its runs."""

    group: str
    waiting: deque[Run]
    total: int
    current: Run | None = None
    failure: str | None = None
    times: dict[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.failure is not None or (self.current is None and not self.waiting)


def _story(stack: Stack, groups: Sequence[Group], plans: Sequence[deque[Run]], told: Told) -> list[str]:
    """Takes every group through its runs, side by side. Where one fails, those of other groups go on.

    Returns:
        Why runs failed, one text each.

    Raises:
        RunFailedError: Airflow has no DAGs to run.
    """
    api = AirflowApi(stack.addresses.url("airflow"))
    lanes = [_Lane(group.name, plan, len(plan)) for group, plan in zip(groups, plans, strict=True)]
    _wait_for_dags(api, stack, {run.dag_id for lane in lanes for run in lane.waiting})
    told.line("Airflow has the DAGs")
    pause = LONG_POLL_SECONDS if sum(lane.total for lane in lanes) > LONG_STORY else POLL_SECONDS
    while not all(lane.over for lane in lanes):
        stack.processes.check()
        for lane in lanes:
            if not lane.over:
                _advance(lane, api, stack, told)
        time.sleep(pause)
    return [lane.failure for lane in lanes if lane.failure]


def _wait_for_dags(api: AirflowApi, stack: Stack, wanted: set[str]) -> None:
    deadline = time.monotonic() + PARSE_SECONDS
    while missing := wanted - api.dags():
        stack.processes.check()
        if errors := api.import_errors():
            raise RunFailedError("Airflow cannot import a DAG file:\n" + "\n".join(errors))
        if time.monotonic() > deadline:
            raise RunFailedError(
                f"Airflow does not find the DAGs {', '.join(sorted(missing))}; "
                f"see {stack.places.logs / 'airflow-dag-processor.log'}"
            )
        time.sleep(POLL_SECONDS)


def _advance(lane: _Lane, api: AirflowApi, stack: Stack, told: Told) -> None:
    """Looks at the lane's run; begins the next one when it is done."""

    def step(what: str) -> None:
        done = lane.total - len(lane.waiting) - (lane.current is not None)
        told.step(lane.group, what, done=done, total=lane.total)

    run = lane.current
    if run is None:
        run = lane.current = lane.waiting.popleft()
        state = api.state(run.dag_id, run.run_id)
        if state != "success":
            if state is not None:  # failed, or interrupted with an earlier `make run`: the stages are idempotent
                api.delete(run.dag_id, run.run_id)
            api.trigger(run.dag_id, run.run_id, run.params)
            step(run.what)
            return
    else:
        state = api.state(run.dag_id, run.run_id)
    if state == "success":
        lane.current = None
        if not lane.waiting:
            step("done")
    elif state == "failed":
        lane.failure = _why(run, api, stack)
        told.line(f"[red]{run.dag_id} failed[/]")
    else:
        step(f"{run.what}: {_doing(api.tasks(run.dag_id, run.run_id))}")


def _doing(tasks: Sequence[Task]) -> str:
    """What a run does now: the running tasks, else the ones it waits for."""
    for states, words in (({"running"}, ""), ({"up_for_retry"}, " will be tried again"), ({"queued", "scheduled"}, "")):
        if names := sorted({task.id for task in tasks if task.state in states}):
            return ", ".join(names) + words
    return "starting"


def _why(run: Run, api: AirflowApi, stack: Stack) -> str:
    """What failed, the end of its log, and the way on."""
    failed = [task for task in api.tasks(run.dag_id, run.run_id) if task.state == "failed"]
    told = [f"{run.dag_id} failed ({run.what})."]
    for task in failed[:2]:
        try:
            log = "\n".join(api.log(run.dag_id, run.run_id, task)).splitlines()
        except AirflowApiError as error:
            log = [f"(no log: {error})"]
        told += [f"The end of the log of its task {task.id}:", *(f"  {line}" for line in log[-30:])]
    told += [
        f"All logs: {stack.places.logs / 'tasks' / f'dag_id={run.dag_id}' / f'run_id={run.run_id}'}",
        "Mend the cause and run the same command again: what succeeded is kept. `make up` stays up for a closer look.",
    ]
    return "\n".join(told)


def _show(summary: Summary, stack: Stack, console: Console, *, stays: bool) -> None:
    """The tables, and where to look further."""
    console.print()
    addresses, places = stack.addresses, stack.places
    summary.show(console, slack=addresses.url("slack"))
    rows = [
        ("Messages", f"{addresses.url('slack')}/"),
        ("Models", f"{addresses.url('mlflow')}/#/models"),
        ("Data Docs", addresses.data_docs),
        ("Airflow", f"{addresses.url('airflow')}/"),
        ("Summary", shown_path(places.summary)),
    ]
    for name, where in rows:
        console.print(f"{name:10} {escape(where)}", highlight=False, soft_wrap=True)
    if not stays:
        console.print("[dim]The addresses answer while `make up` is running.[/]")


def _stay(stack: Stack, console: Console) -> None:
    """Until Ctrl-C, or until something ends that should not."""
    start_listener(stack)
    console.print("\nUp, and the buttons of the messages work. Ctrl-C stops everything.")
    try:
        while True:
            stack.processes.check()
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("\nStopping")


if __name__ == "__main__":
    sys.exit(main())
