"""Templates to pages: the filters, the links, and what every page is given."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from anomaly.adapters.messages import (
    called,
    departure_words,
    duration_words,
    moment_words,
    number_words,
    observed_words,
    return_period_words,
    shortened,
    span_words,
)
from anomaly.detection.explanations import number
from anomaly.ports.review import Person
from anomaly.review.desk import Visit

STATIC = Path(__file__).parent / "static"
WORDS = {"real": "real", "false_alarm": "false alarm", "expected": "expected"}
HAPPENED = {"drop": "dropped", "surge": "surged", "silent": "silent", "frozen": "frozen", "shift": "shifted"}


class Rendering:
    """The templates of the pages.

    Args:
        plugin_path: the path at which the pages are shown inside of the Airflow UI; '' where they are not.
    """

    def __init__(self, *, plugin_path: str = "") -> None:
        self._plugin_path = plugin_path
        self._templates = Environment(
            loader=PackageLoader("anomaly.review"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "called": called,
            "count": number_words,
            "digits": number,
            "duration": duration_words,
            "happened": lambda kind: HAPPENED.get(kind, kind),
            "moment": moment_words,
            "observed": observed_words,
            "rarity": return_period_words,
            "sentence": lambda words: words[:1].upper() + words[1:],
            "short": shortened,
            "since": since_words,
            "span": span_words,
            "word": lambda word: WORDS.get(word, word),
            "iso": datetime.isoformat,
        }
        self._templates.globals |= {"departure": departure_words, "timedelta": timedelta, "ZoneInfo": ZoneInfo}

    def page(self, template: str, visit: Visit, *, status: int = 200, **given: Any) -> HTMLResponse:
        """A page with the person's token in it."""
        settings = visit.world.settings
        return self._html(
            template,
            visit.root,
            visit.person,
            status=status,
            now=visit.now,
            token=visit.token,
            airflow=(settings.link_airflow or "").rstrip("/"),
            mlflow=(settings.link_mlflow or "").rstrip("/"),
            data_docs=settings.link_data_docs or "",
            **given,
        )

    def failure(self, root: str, status: int, title: str, words: str, *, sign_in: str | None = None) -> HTMLResponse:
        """A page that says what is wrong."""
        return self._html("failure.html", root, None, status=status, title=title, words=words, sign_in=sign_in)

    def _html(
        self, template: str, root: str, person: Person | None, *, status: int, token: str = "", **given: Any
    ) -> HTMLResponse:
        def url(*parts: object, **query: object) -> str:
            path = "/".join(quote(str(part), safe="") for part in parts)
            asked = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in query.items() if value != "")
            return f"{root}/{path}" + (f"?{asked}" if asked else "")

        text = self._templates.get_template(template).render(
            root=root,
            url=url,
            static=lambda name: f"{root}/static/{name}?v={fingerprint(name)}",
            person=person,
            token=token,
            plugin_path=self._plugin_path,
            **given,
        )
        return HTMLResponse(text, status_code=status)


@cache
def fingerprint(name: str) -> str:
    """Of a static file: its address changes with its content, so that browsers may keep it."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def since_words(moment: datetime, now: datetime) -> str:
    """``3 h ago``; a date where that is longer ago than a fortnight."""
    passed = now - moment
    if passed < timedelta(minutes=2):
        return "just now"
    if passed < timedelta(days=14):
        return f"{duration_words(passed)} ago"
    return f"{moment.day} {moment:%b %Y}"
