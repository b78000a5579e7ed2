"""The review pages: groups, incidents, variables and fits, to look at and to label, inside the Airflow UI.

In: a `World` (settings and stores), the groups, and somebody who knows who may see what. Out: an ASGI application for
a plugin to mount. It knows no Airflow: access checks and runs are passed in, so that it can be run and tested alone.

``app`` puts it together, ``access`` guards it, ``pages`` are what people read, ``drawing`` is what charts draw,
``writing`` takes labels and snoozes. Pages are made on the server and work without scripts, charts excepted.
"""

from __future__ import annotations

from anomaly.review.app import create_app

__all__ = ["create_app"]
