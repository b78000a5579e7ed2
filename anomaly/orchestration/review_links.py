"""From a task instance to its review page: a button in the Airflow UI, made when the task ends.

A task of the watching DAG leads to its group's page, with the heatmap up to the end of the run's range; a task of the
fitting DAG to its fit's page; the one that measures what would be noticed to the group's page with its blind variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import DAG, BaseOperatorLink

from anomaly.adapters.settings import Settings
from anomaly.groups.dag_ids import MEASURING
from anomaly.orchestration.review_addresses import framed_address

if TYPE_CHECKING:
    from airflow.sdk.bases.operator import BaseOperator

GROUPS_DAG = "anomaly."


class ReviewLink(BaseOperatorLink):
    """The button."""

    @property
    def name(self) -> str:
        return "Anomalies"

    @property
    def xcom_key(self) -> str:
        return "review_page"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Args:
            operator: the task's, with its arguments rendered.
            ti_key: the running task instance, or its key.
        """
        airflow = Settings.from_environment().link_airflow or _base_url()
        return framed_address(airflow, page_of(ti_key.dag_id, _fit_of(operator, ti_key), _until(ti_key)))


def with_review_links(dag: DAG) -> DAG:
    """The DAG, with the button on each of its tasks."""
    for task in dag.tasks:
        task.operator_extra_links = (*task.operator_extra_links, ReviewLink())
    return dag


def page_of(dag_id: str, fit_id: str | None, until: str | None) -> str:
    """Path of the page that a task of the DAG leads to.

    Args:
        dag_id: ``anomaly.<group>``, ``anomaly.<group>.fit`` or ``anomaly.<group>.detectability``.
        fit_id: of a fit that the task works on.
        until: end of the run's range, ISO 8601.
    """
    group, _, part = dag_id.removeprefix(GROUPS_DAG).partition(".")
    if fit_id:
        return f"fits/{quote(fit_id, safe='')}"
    if part == MEASURING:
        return f"groups/{group}#blind"
    return f"groups/{group}" + (f"?until={quote(until, safe='')}" if until else "")


def _fit_of(operator: BaseOperator, ti: Any) -> str | None:
    """The argument of the fit's later tasks; what prepare has just pushed."""
    given = getattr(operator, "op_kwargs", {}).get("fit_id")
    if given is None and ti.dag_id.endswith(".fit") and hasattr(ti, "xcom_pull"):
        given = ti.xcom_pull(task_ids="prepare", key="fit")
    return given if isinstance(given, str) else None


def _until(ti: Any) -> str | None:
    """End of the range of a run with params, else of its data interval."""
    if not hasattr(ti, "get_template_context"):
        return None
    context = ti.get_template_context()
    given = (context.get("params") or {}).get("end")
    end = context.get("data_interval_end")
    return given or (end.isoformat() if end is not None else None)


def _base_url() -> str:
    from airflow.configuration import conf

    return str(conf.get("api", "base_url", fallback="http://localhost:8080"))
