"""Where the review pages are.

They are mounted at ``/anomaly`` of the Airflow UI and shown in its frame by a view: what follows ``/plugin/anomaly`` in
the address is the path of the framed page, so that every page, an incident's too, has an address inside of Airflow's
frame, and people who are signed out are asked to sign in first. A base path of Airflow is part of both.
"""

from __future__ import annotations

from urllib.parse import urlsplit

PREFIX = "/anomaly"
ROUTE = "anomaly"


def framed_path(airflow: str) -> str:
    """The path below which the pages are shown in Airflow's frame.

    Args:
        airflow: address of the Airflow UI.
    """
    base = urlsplit(airflow).path.rstrip("/")
    return f"{base}/plugin/{ROUTE}{base}{PREFIX}"


def sign_in_path(airflow: str) -> str:
    """Where people sign in.

    Args:
        airflow: address of the Airflow UI.
    """
    return f"{urlsplit(airflow).path.rstrip('/')}/api/v2/auth/login"


def framed_address(airflow: str, path: str) -> str:
    """``https://airflow/plugin/anomaly/anomaly/incidents/7``.

    Args:
        airflow: address of the Airflow UI.
        path: of a page, such as ``incidents/7``.
    """
    parts = urlsplit(airflow)
    return f"{parts.scheme}://{parts.netloc}{framed_path(airflow)}/{path.lstrip('/')}".rstrip("/")
