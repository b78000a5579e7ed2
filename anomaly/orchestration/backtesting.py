"""A backtest's bench: the stages as the tasks run them, in a scratch copy of the metadata.

In: a `World` and a group. Out: an `anomaly.stages.backtest.Bench` whose every read and write goes to a schema of its
own, whose models and networks are gone afterwards, and whose channel only notes what it is told. The real world's
counts are read; nothing of it is changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, cast

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.connections import Connection
from anomaly.adapters.postgres.scratch import Scratch, scratch
from anomaly.adapters.scratch_models import NoCharts, ScratchRegistry
from anomaly.adapters.settings import DATABASE_CONNECTION
from anomaly.adapters.world import World
from anomaly.exceptions import CountsNotReadyError, MessageGoneError, NotEnoughHistoryError
from anomaly.groups import Group, TimeRange
from anomaly.groups.intervals import EPOCH
from anomaly.groups.model import PromotionMode
from anomaly.orchestration import running
from anomaly.orchestration.ranges import chosen_until, plain
from anomaly.ports import (
    NO_REMARKS,
    Channel,
    Charts,
    ChartStore,
    FitCharts,
    Incident,
    Links,
    ModelRegistry,
    Posted,
    Store,
)
from anomaly.ports.posts import Digest, News, Remarks, Weekly
from anomaly.stages.alert import chart_data
from anomaly.stages.backtest import FitDone, Outcome, Plan, Refit, StoreAsOf, Told, plan, replay, retell, with_policy


def scheduled_fits(group: Group, end: datetime) -> tuple[Refit, ...]:
    """What the fit's schedule asks for before a moment, by time; cron expressions as Airflow reads them."""
    import pendulum
    from airflow.timetables.base import TimeRestriction

    from anomaly.orchestration.timetables import FitTimetable

    begin = pendulum.instance(group.schedule.start + group.history.minimum)
    allowed = TimeRestriction(earliest=begin, latest=pendulum.instance(end), catchup=True)
    timetable = FitTimetable(group.schedule.fit, timezone=group.timezone, end=group.schedule.end)
    found: dict[datetime, datetime] = {}
    run = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=allowed)
    while run is not None and (at := plain(run.run_after)) < end:
        found.setdefault(chosen_until(group, None, at=at), at)
        run = timetable.next_dagrun_info(last_automated_data_interval=run.data_interval, restriction=allowed)
    return tuple(Refit(at, until) for until, at in found.items())


def planned(group: Group, within: TimeRange, *, run_in: timedelta) -> Plan:
    """See `anomaly.stages.backtest.plan`."""
    return plan(group, within, scheduled_fits(group, within.end), run_in=run_in)


@dataclass
class NotingChannel:
    """Implements `anomaly.ports.Channel`: notes what it is told, and when."""

    messages: list[Told] = field(default_factory=list)
    now: datetime = EPOCH

    def post(
        self,
        group: Group,
        incident: Incident,
        *,
        png: bytes,  # noqa: ARG002
        links: Links,  # noqa: ARG002
        key: str,
        channel: str | None = None,
        remarks: Remarks = NO_REMARKS,  # noqa: ARG002
    ) -> Posted:
        self._note(incident, "post")
        return Posted(channel or group.slack.channel, key, None)

    def update(
        self,
        group: Group,
        incident: Incident,
        *,
        links: Links,  # noqa: ARG002
        png: bytes | None = None,  # noqa: ARG002
        remarks: Remarks = NO_REMARKS,  # noqa: ARG002
    ) -> Posted:
        if incident.slack_ts is None:
            raise MessageGoneError(f"incident {incident.id} has no message to edit")
        self._note(incident, "edit")
        return Posted(group.slack.channel, incident.slack_ts, None)

    def reply(
        self,
        group: Group,
        incident: Incident,
        news: News,  # noqa: ARG002
        *,
        key: str,
        broadcast: bool = False,  # noqa: ARG002
    ) -> Posted:
        self._note(incident, "reply")
        return Posted(group.slack.channel, key, None)

    def point(self, group: Group, incident: Incident, *, channel: str, links: Links, key: str) -> Posted:  # noqa: ARG002
        self._note(incident, "reply")
        return Posted(channel, key, None)

    def digest(self, group: Group, digest: Digest, *, links: Links, key: str) -> Posted:  # noqa: ARG002
        for incident in digest.incidents:
            self._note(incident, "digest")
        return Posted(group.slack.channel, key, None)

    def weekly(self, group: Group, weekly: Weekly, *, links: Links, key: str) -> Posted:  # noqa: ARG002
        return Posted(group.slack.channel, key, None)

    def _note(self, incident: Incident, how: Literal["post", "edit", "reply", "digest"]) -> None:
        self.messages.append(Told(incident.id or 0, self.now, how))


@dataclass(frozen=True)
class ScratchWorld(World):
    """A world whose metadata is a scratch schema."""

    scratch: Scratch
    models: ScratchRegistry
    noted: NotingChannel
    seen: TimeRange | None = None
    """The interval after which it is; None for all there is."""

    def store(self) -> Store:
        store = super().store()
        return store if self.seen is None else cast("Store", StoreAsOf(store, self.seen))

    def registry(self) -> ModelRegistry:
        return self.models

    def charts(self) -> Charts:
        return NoCharts()

    def chart_store(self) -> ChartStore:
        return NoCharts()

    def fit_charts(self) -> FitCharts:
        return NoCharts()

    def channel(self, group: Group) -> Channel:  # noqa: ARG002
        return self.noted


@dataclass
class ScratchBench:
    """Implements `anomaly.stages.backtest.Bench`."""

    world: ScratchWorld
    group: Group

    def fit(self, refit: Refit) -> FitDone:
        world, group, clock = self.world, self.group, _clock(refit.at)
        self.world.scratch.know_what_was_said_by(refit.at)
        try:
            fit, _ = running.run_prepare(world, group, refit.until, clock=clock)
        except (NotEnoughHistoryError, CountsNotReadyError) as refused:
            return FitDone(refit, promoted=False, said=f"did not run: {refused}")
        for shard in range(fit.shards):
            running.run_train(world, group, fit.id, shard, clock=clock)
        running.run_register(world, group, fit.id, clock=clock)
        done = running.run_promote(world, group, fit.id, clock=clock)
        return FitDone(refit, bool(done.report["promoted"]), done.said)

    def judge(self, within: TimeRange) -> Sequence[datetime]:
        self.world.scratch.know_what_was_said_by(within.end)  # a factor serves from an interval on, and none before it
        running.run_predict(self.world, self.group, within, clock=_clock(within.end + self.group.schedule.delay))
        return sorted({anomaly.start for anomaly in self.world.store().anomalies(self.group, within)})

    def tell(self, interval: TimeRange) -> bool:
        now = interval.end + self.group.schedule.delay
        self.world.noted.now = now
        self.world.scratch.know_what_was_said_by(now)
        running.run_alert(replace(self.world, seen=interval), self.group, interval, clock=_clock(now))
        store = self.world.store()
        return bool(store.waiting(self.group) or store.unsettled(self.group)) or any(
            not i.resolved or (i.place == "digest" and i.digest_id is None) for i in store.incidents(self.group)
        )

    def incidents(self) -> Sequence[Incident]:
        return self.world.store().incidents(self.group)

    def messages(self) -> Sequence[Told]:
        return self.world.noted.messages

    def chart(self, incident: Incident) -> bytes:
        """PNG, as its message would have had."""
        return World.charts(self.world).incident(chart_data(self.group, incident, self.world.store()))


@contextmanager
def bench(world: World, group: Group) -> Iterator[ScratchBench]:
    """A bench for the length of the block; nothing is left of it.

    Args:
        world: the real one; its metadata is read.
        group: with the policy to be tried.
    """
    arguments = world.connection(DATABASE_CONNECTION).postgres_arguments()
    with tempfile.TemporaryDirectory(prefix="anomaly-backtest-") as folder, scratch(arguments, group) as made:

        def connection(name: str) -> Connection:
            real = world.connection(name)
            return (
                replace(real, extra={**real.extra, "options": made.arguments["options"]})
                if (name == DATABASE_CONNECTION)
                else real
            )

        settings = replace(
            world.settings,
            artifacts=folder,
            validations=Path(folder) / "validations",
            link_airflow=None,
            link_mlflow=None,
            link_data_docs=None,
        )
        inside = ScratchWorld(
            settings, connection, scratch=made, models=ScratchRegistry(Artifacts(folder)), noted=NotingChannel()
        )
        # Nobody is there to say a word about fits of the past: what a person would have had to approve serves.
        alone = group.promotion.model_copy(update={"mode": PromotionMode.AUTOMATIC})
        yield ScratchBench(inside, group.model_copy(update={"promotion": alone}))


def run(one: ScratchBench, what: Plan, *, told: Callable[[int, str], None]) -> Outcome:
    """A backtest of one policy, fits and all."""
    return replay(one.group, what, one, told=told)


def run_again(
    one: ScratchBench, other: ScratchBench, what: Plan, before: Outcome, *, told: Callable[[int, str], None]
) -> Outcome:
    """A backtest of another policy with the first one's fits, under thresholds of its own.

    Its networks are read from where the first bench keeps them.
    """
    other.world.scratch.learn_from(one.world.scratch)
    store = other.world.store()
    for fit_id in other.world.scratch.fits():
        store.save_fitted(fit_id, with_policy(other.group, store.fitted(fit_id, residuals=True)), [])
    return retell(other.group, what, other, before.fits, told=told)


def _clock(now: datetime) -> Callable[[], datetime]:
    return lambda: now
