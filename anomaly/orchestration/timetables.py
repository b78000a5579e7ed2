"""When the DAGs of a group run, as Airflow timetables; registered by ``plugins/anomaly_timetables.py``.

Airflow's own interval timetables start a run at the very end of its interval, and moving a cron expression by
five minutes would move the interval with it. These keep the interval on the group's grid and start the run
after the group's delay. They also hold the end of the schedule: an ``end_date`` on the DAG would block the
tasks of every run started by hand after it, and ranges can be run by hand at any time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable
from airflow.timetables.trigger import CronTriggerTimetable

from anomaly.groups.durations import format_duration
from anomaly.orchestration.ranges import latest_complete, next_interval, plain

if TYPE_CHECKING:
    from airflow.timetables.base import TimeRestriction
    from airflow.utils.types import DagRunType


class IntervalTimetable(Timetable):
    """A run per interval of the group's grid, `delay` after the interval's end, none after `end`.

    Args:
        interval: of the group; divides a day.
        delay: how long after an interval's end its run starts.
        end: no interval that ends after this moment is scheduled; aware.
    """

    def __init__(self, interval: timedelta, *, delay: timedelta = timedelta(0), end: datetime | None = None) -> None:
        self.interval = interval
        self.delay = delay
        self.end = end
        every, late = format_duration(interval), format_duration(delay)
        self.description = f"Every {every}, {late} after the interval's end" if delay else f"Every {every}"
        if end is not None:
            self.description += f", until {end.isoformat()}"

    @property
    def summary(self) -> str:
        return f"every {format_duration(self.interval)}"

    def serialize(self) -> dict[str, Any]:
        return {
            "interval": self.interval.total_seconds(),
            "delay": self.delay.total_seconds(),
            "end": self.end.isoformat() if self.end else None,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> IntervalTimetable:
        return cls(
            timedelta(seconds=data["interval"]),
            delay=timedelta(seconds=data["delay"]),
            end=datetime.fromisoformat(data["end"]) if data["end"] else None,
        )

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        """The latest complete interval at that moment, or the schedule's last one."""
        latest = latest_complete(plain(run_after), interval=self.interval, end=self.end)
        return DataInterval(pendulum.instance(latest.start), pendulum.instance(latest.end))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The interval after the last one; without catch-up not before the latest that is counted."""
        last = last_automated_data_interval
        following = next_interval(
            datetime.now(UTC),
            interval=self.interval,
            delay=self.delay,
            end=self.end,
            earliest=plain(restriction.earliest) if restriction.earliest else None,
            last=(plain(last.start), plain(last.end)) if last else None,
            catchup=restriction.catchup,
        )
        if following is None or (restriction.latest is not None and following.start > restriction.latest):
            return None
        return DagRunInfo(
            run_after=pendulum.instance(following.end + self.delay),
            data_interval=DataInterval(pendulum.instance(following.start), pendulum.instance(following.end)),
        )

    def generate_run_id(
        self,
        *,
        run_type: DagRunType,
        run_after: pendulum.DateTime,
        data_interval: DataInterval | None,
        **extra: Any,
    ) -> str:
        """Scheduled runs and backfills are named after the interval they count, not after when they start."""
        if data_interval is None or run_type.value == "manual":
            return super().generate_run_id(run_type=run_type, run_after=run_after, data_interval=data_interval, **extra)
        return run_type.generate_run_id(suffix=data_interval.start.isoformat())


class FitTimetable(CronTriggerTimetable):
    """A run at each moment of a cron expression in the group's zone, none after `end`."""

    def __init__(self, cron: str, *, timezone: str, end: datetime | None = None) -> None:
        super().__init__(cron, timezone=timezone)
        self.cron = cron
        self.zone = timezone
        self.end = end

    def serialize(self) -> dict[str, Any]:
        return {"cron": self.cron, "zone": self.zone, "end": self.end.isoformat() if self.end else None}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> FitTimetable:
        return cls(
            data["cron"], timezone=data["zone"], end=datetime.fromisoformat(data["end"]) if data["end"] else None
        )

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        following = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        if following is None or (self.end is not None and following.run_after > self.end):
            return None
        return following
