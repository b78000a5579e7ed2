"""Tells Airflow the timetables of the group DAGs: it refuses to store a DAG whose timetable no plugin names."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from anomaly.orchestration.timetables import FitTimetable, IntervalTimetable


class AnomalyTimetables(AirflowPlugin):
    name = "anomaly_timetables"
    timetables = [FitTimetable, IntervalTimetable]  # noqa: RUF012  # Airflow's interface is a plain class attribute
