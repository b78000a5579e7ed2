"""A group in, its DAGs out: one that updates, predicts and alerts, one that fits, and one that measures every night
what would be noticed (`anomaly.orchestration.measuring`), unless the group's file says never.

The tasks import, wire, call one stage and return its report; data travels through the stores. What is heavy is
imported by the stages when they run, so that parsing stays light. A task's docstring is its page in the UI.
``multiple_outputs=False`` keeps a report whole: Airflow would store each key of an annotated dictionary apart.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, Context, Param, task
from airflow.sdk.exceptions import AirflowSkipException

from anomaly.groups import Group, TimeRange, dag_ids
from anomaly.groups.model import PromotionMode
from anomaly.orchestration import running
from anomaly.orchestration.assets import GroupAssets, tell
from anomaly.orchestration.connections import airflow_world
from anomaly.orchestration.measuring import detectability_dag
from anomaly.orchestration.pages import fit_page, watch_page
from anomaly.orchestration.ranges import chosen_range, chosen_until, parse_moment, plain
from anomaly.orchestration.retries import RETRIES
from anomaly.orchestration.review_links import with_review_links
from anomaly.orchestration.timetables import FitTimetable, IntervalTimetable

ONE_AT_A_TIME = 1
"""Runs of a backfill take turns at each stage, so that intervals are handled in their order."""

SHARDS_AT_A_TIME = 2
"""Training uses every core it gets: more shards at once than this would only wait for each other."""

TRAIN_PAGE = """\
Trains every candidate for all variables of the shard at once, picks the best of each variable on the test period
(the champion competes too), and fits the residuals' distribution and the thresholds.
"""
"""Airflow shows no docstring of a mapped task."""

APPROVE_PAGE = """\
Asks whether the challenger shall serve: answer under *Required actions*. The answer can also be given in MLflow (alias
`champion`, or tag `review` with `approved` or `rejected`), or by `anomaly models promote` and `anomaly models reject`.
What comes first counts; without an answer in time the challenger is rejected.
"""


def group_dags(group: Group) -> tuple[DAG, ...]:
    """``anomaly.<group>``, ``anomaly.<group>.fit`` and, if it is wanted, ``anomaly.<group>.detectability``."""
    made = [watch_dag(group), fit_dag(group)]
    if group.schedule.detectability is not None:
        made.append(detectability_dag(group, group.schedule.detectability, tags=_tags(group)))
    return tuple(map(with_review_links, made))


def is_of(dag_id: str, group: Group) -> bool:
    """Whether a DAG is one of the group's."""
    return dag_id.split(".")[:2] == ["anomaly", group.name]


def watch_dag(group: Group) -> DAG:
    """Counts, judges and tells, interval after interval."""
    assets = GroupAssets.of(group)
    schedule = group.schedule
    with DAG(
        dag_id=dag_ids.watching(group),
        description=group.description or f"Watches how often the variables of {group.name} are written.",
        doc_md=watch_page(group),
        schedule=IntervalTimetable(group.interval, delay=schedule.delay, end=schedule.end),
        start_date=schedule.start,
        catchup=schedule.catchup,
        max_active_runs=1,
        tags=_tags(group),
        params={
            "start": _moment_param(
                "Start", "Start of the range to run. Goes with *End*. Empty: the latest complete interval."
            ),
            "end": _moment_param("End", "End of the range, not part of it. Goes with *Start*."),
        },
        default_args={"owner": group.owner, "max_active_tis_per_dag": ONE_AT_A_TIME, **RETRIES},
    ) as dag:

        @task(outlets=[assets.counts], multiple_outputs=False)
        def update(**context: Any) -> dict[str, Any]:
            """Counts the events of every variable in the source's own engine, checks what it read, keeps failing
            rows in quarantine with the reason, enrols new variables and stores the counts, zeros included."""
            done = running.run_update(airflow_world(), group, _range(group, context))
            return tell(context, assets.counts, done)

        @task(inlets=[assets.counts, assets.model], outlets=[assets.predictions], multiple_outputs=False)
        def predict(**context: Any) -> dict[str, Any]:
            """Compares the counts with what the champion expects, and stores predictions and anomalies. Without a
            champion there is nothing to compare with: fit first."""
            done = running.run_predict(airflow_world(), group, _range(group, context))
            return tell(context, assets.predictions, done)

        @task(inlets=[assets.predictions], outlets=[assets.incidents], multiple_outputs=False)
        def alert(**context: Any) -> dict[str, Any]:
            """Gathers anomalies into incidents, draws their charts and tells of them in Slack: one thread per incident,
            each thing said once even when this task runs twice, and later when Slack is down."""
            world = airflow_world()
            address = running.airflow_run_address(world.settings, context["dag"].dag_id, context["run_id"])
            done = running.run_alert(world, group, _range(group, context), airflow_run=address)
            return tell(context, assets.incidents, done)

        @task(inlets=[assets.predictions, assets.model], outlets=[assets.drift_alias], multiple_outputs=False)
        def follow(**context: Any) -> dict[str, Any]:
            """Looks after the model: lets a version serve whose alias `champion` somebody has set in MLflow, and looks
            once a day whether the residuals have drifted from what the thresholds were made of. Then it asks for a
            fit."""
            done = running.run_follow(airflow_world(), group)
            if done.report["asks_for_fit"]:
                report = done.report
                event = {"said": done.said, "drifted": report["drifted"], "of": report["variables"]}
                event |= {"until": report.get("until")}
                context["outlet_events"][assets.drift_alias].add(assets.drift, extra=event)
            return done.report

        update() >> predict() >> [alert(), follow()]
    return dag


def fit_dag(group: Group) -> DAG:
    """Learns what is normal, and makes it the champion."""
    assets = GroupAssets.of(group)
    schedule = group.schedule
    with DAG(
        dag_id=dag_ids.fitting(group),
        description=f"Learns what is normal for the variables of {group.name}.",
        doc_md=fit_page(group),
        schedule=_fit_schedule(group, assets),
        start_date=schedule.start + group.history.minimum,
        catchup=False,
        max_active_runs=1,
        tags=[*_tags(group), "fit"],
        params={
            "until": _moment_param("Until", "Where the history ends. Empty: the latest interval that is counted."),
            "reason": Param(
                None, description_md="Why it is fitted now; kept with the fit.", type=["null", "string"], title="Reason"
            ),
        },
        default_args={"owner": group.owner, **RETRIES},
    ) as dag:

        @task(inlets=[assets.counts])
        def prepare(**context: Any) -> list[dict[str, Any]]:
            """Checks that the history is complete and long enough, and divides the variables into shards. Is skipped
            when drift asks for a fit that has begun already."""
            at = plain(context.get("logical_date") or context["dag_run"].run_after)
            until = chosen_until(group, _moment_of(context["params"]["until"]), at=at)
            asked = asked_until(context)
            answered = running.answered_already(airflow_world(), group, asked, until) if asked else ""
            if answered:
                raise AirflowSkipException(answered)
            fit, done = running.run_prepare(airflow_world(), group, until, reason=reason_of(group, context))
            context["ti"].xcom_push(key="fit", value=fit.id)
            context["ti"].xcom_push(key="report", value=done.report)
            return [{"shard": n, "name": f"shard {n + 1} of {fit.shards}"} for n in range(fit.shards)]

        @task(
            map_index_template="{{ task.op_kwargs['part']['name'] }}",
            max_active_tis_per_dag=SHARDS_AT_A_TIME,
            doc_md=TRAIN_PAGE,
            multiple_outputs=False,
        )
        def train(part: dict[str, Any], fit_id: str) -> dict[str, Any]:
            return running.run_train(airflow_world(), group, fit_id, part["shard"]).report

        @task(multiple_outputs=False)
        def register(fit_id: str) -> dict[str, Any]:
            """Makes the trained networks a version of the group's registered model, as `challenger`."""
            return running.run_register(airflow_world(), group, fit_id).report

        @task(multiple_outputs=False)
        def review(fit_id: str) -> dict[str, Any]:
            """Lets the challenger and the champion judge the same last weeks: which alerts would appear, which
            disappear, which confirmed incidents would be lost. The model version's page in MLflow shows it."""
            return running.run_review(airflow_world(), group, fit_id).report

        @task(outlets=[assets.model], multiple_outputs=False)
        def promote(fit_id: str, **context: Any) -> dict[str, Any]:
            """Makes the challenger the `champion`, which predict uses from its next run on. Is skipped when the
            challenger was rejected, by the group's policy or by somebody: the champion stays."""
            done = running.run_promote(airflow_world(), group, fit_id, last_call=True)
            if not done.report["promoted"]:
                context["ti"].xcom_push(key="report", value=done.report)
                raise AirflowSkipException(done.said)  # a skipped task tells nobody of a new model
            return tell(context, assets.model, done)

        parts = prepare()
        fit_id = parts["fit"]  # type: ignore[index]  # by the key that prepare pushed
        trained = train.partial(fit_id=fit_id).expand(part=parts)
        reviewed, promoted = review(fit_id), promote(fit_id)
        trained >> register(fit_id) >> reviewed
        if group.promotion.mode is PromotionMode.REVIEWED:
            from anomaly.orchestration.approval import ApprovalTask, form  # groups without reviews do not pay for it

            asked = ApprovalTask(task_id="approve", group=group, fit_id=str(fit_id), params=form(), doc_md=APPROVE_PAGE)
            reviewed >> asked >> promoted
        else:
            reviewed >> promoted
    return dag


def reason_of(group: Group, context: Context | dict[str, Any]) -> str:
    """Why this fit runs, in a sentence."""
    run, given = context["dag_run"], context["params"].get("reason")
    kind = getattr(run.run_type, "value", run.run_type)
    who = getattr(run, "triggering_user_name", None)
    if kind == "asset_triggered":
        said = _last_told(context, "said")
        return f"on drift: {said}" if said else "on drift"
    if kind == "scheduled":
        return f"on schedule, {group.schedule.fit} {group.timezone}"
    asked = f"on demand by {who}" if who else "on demand"
    return f"{asked}: {given}" if given else asked


def asked_until(context: Context | dict[str, Any]) -> datetime | None:
    """Up to when residuals had drifted, of a run that drift has asked for; None for other runs."""
    run_type = context["dag_run"].run_type
    if getattr(run_type, "value", run_type) != "asset_triggered":
        return None
    return _moment_of(_last_told(context, "until"))


def _last_told(context: Context | dict[str, Any], key: str) -> str:
    """What the latest of the asset events that made this run says under a key; '' if none does."""
    events = [event for found in context["triggering_asset_events"].values() for event in found]
    return next((str(e.extra[key]) for e in reversed(events) if e.extra and e.extra.get(key)), "")


def _fit_schedule(group: Group, assets: GroupAssets) -> Any:
    """On the group's schedule, and when residuals have drifted."""
    timetable: Any = FitTimetable(group.schedule.fit, timezone=group.timezone, end=group.schedule.end)
    if not group.retraining.on_drift:
        return timetable
    return AssetOrTimeSchedule(timetable=timetable, assets=[assets.drift])


def _tags(group: Group) -> list[str]:
    return sorted({"anomaly", *group.tags})


def _moment_param(title: str, description: str) -> Param:
    return Param(None, description_md=description, type=["null", "string"], format="date-time", title=title)


def _range(group: Group, context: Context | dict[str, Any]) -> TimeRange:
    """What this run is about: its params, else its data interval, else the latest complete interval."""
    start, end = (_moment_of(context["params"][key]) for key in ("start", "end"))
    interval = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None and end is None and interval[0] is not None and interval[1] is not None:
        start, end = plain(interval[0]), plain(interval[1])
    return chosen_range(group, start, end, at=plain(context["dag_run"].run_after))


def _moment_of(param: str | None) -> datetime | None:
    return parse_moment(param) if param else None
