"""The review pages inside the Airflow UI: an application, and the view that shows it in the frame."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin
from starlette.types import ASGIApp

from anomaly.orchestration.review_addresses import PREFIX, ROUTE
from anomaly.orchestration.review_mount import MadeWhenAsked


def _make() -> ASGIApp:
    from anomaly.orchestration.reviewing import review_options
    from anomaly.review import create_app

    return create_app(**review_options())


class AnomalyReview(AirflowPlugin):
    name = "anomaly_review"
    fastapi_apps = [{"name": "Anomalies", "url_prefix": PREFIX, "app": MadeWhenAsked(_make)}]  # noqa: RUF012
    external_views = [  # noqa: RUF012  # Airflow's interface is plain class attributes
        {
            "name": "Anomalies",
            "href": f"{PREFIX}/groups",
            "url_route": ROUTE,
            "destination": "nav",
            "nav_top_level": True,
            "icon": f"{PREFIX}/static/nav-light.svg",
            "icon_dark_mode": f"{PREFIX}/static/nav-dark.svg",
        }
    ]
