"""Where Slack sends clicks when the installation takes them over HTTP: Slack's signature is the check of who calls."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin
from starlette.types import ASGIApp

from anomaly.orchestration.review_mount import MadeWhenAsked


def _make() -> ASGIApp:
    from anomaly.adapters.slack_actions import http_app
    from anomaly.orchestration.connections import airflow_world
    from anomaly.orchestration.slack_clicks import signed_actions

    return http_app(signed_actions(airflow_world))


class AnomalySlack(AirflowPlugin):
    name = "anomaly_slack"
    fastapi_apps = [{"name": "Clicks in Slack", "url_prefix": "/anomaly-slack", "app": MadeWhenAsked(_make)}]  # noqa: RUF012
