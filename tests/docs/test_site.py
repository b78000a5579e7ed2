"""The documentation site: builds without a warning or a network, says what the code says, and no link of it is dead."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml

from anomaly.groups import Group
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Every socket that is not a unix one is refused while the site is built.
OFFLINE = """
import socket, sys
def refused(*_): raise OSError("the site must build without a network")
socket.socket.connect = socket.getaddrinfo = refused
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


class Page(HTMLParser):
    """The links and anchors of a page, and where it fetches from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if found := given.get("id"):
            self.anchors.add(found)
        if tag == "a" and (link := given.get("href")):
            self.links.append(link)
        if tag in {"script", "img"} and (source := given.get("src")):
            self.fetched.append(source)
        if tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload"} and (sheet := given.get("href")):
            self.fetched.append(sheet)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", OFFLINE, "-W", "--keep-going", "-q", "-d", str(out / "trees"), "-b", "html"]
    done = subprocess.run(
        [*command, str(REPOSITORY / "docs"), str(out / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def _local(page: Path, link: str) -> tuple[Path, str] | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page, unquote(parts.fragment)


def test_every_link_inside_the_site_leads_somewhere(pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in page.links:
            target = _local(path, link)
            if target is None:
                continue
            file, anchor = target
            known = pages.get(file)
            if not file.is_file() or (anchor and known is not None and anchor not in known.anchors):
                dead.append(f"{path.name}: {link}")
    assert not dead


def test_the_pages_fetch_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    assert not {source for page in pages.values() for source in page.fetched if urlsplit(source).netloc}


def test_every_command_is_in_the_reference(site: Path) -> None:
    from anomaly.cli import app

    def names(command: object, prefix: str) -> Iterator[str]:
        children = getattr(command, "commands", None)
        for child in (children or {}).values():
            yield from names(child, f"{prefix} {child.name}")
        if not children:
            yield prefix

    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    missing = [
        name for name in names(typer.main.get_command(app), "anomaly") if f'id="{name.replace(" ", "-")}"' not in page
    ]
    assert not missing


def test_every_key_of_a_groups_file_is_in_the_reference_with_its_default(site: Path) -> None:
    page = (site / "reference" / "group-file.html").read_text(encoding="utf-8")
    assert not [key for key in Group.model_fields if f">{key}<" not in page]
    for default in ("12h", "seasonal-naive", "anomaly_slack"):
        assert default in page, default


def _examples() -> list[tuple[str, dict[str, Any]]]:
    """What the guides show of group files: whole ones, and parts."""
    found = []
    for path in sorted((REPOSITORY / "docs" / "how-to").glob("*.md")):
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            written = yaml.safe_load(block)
            found.append((f"{path.stem}: {next(iter(written))}", written))
    return found


@pytest.mark.parametrize("written", [pytest.param(written, id=name) for name, written in _examples()])
def test_every_example_of_a_groups_file_passes_the_check(written: dict[str, Any]) -> None:
    least = {
        "name": "example",
        "owner": "data",
        "source": {"connection": "production", "table": "events"},
        "interval": "1h",
        "variables": "all",
        "schedule": {"start": "2026-01-01T00:00:00+00:00"},
        "slack": {"channel": "#alerts"},
    }
    assert Group.model_validate(least | written)


def test_every_decision_is_listed(site: Path) -> None:
    page = (site / "explanation" / "decisions.html").read_text(encoding="utf-8")
    decisions = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert len(decisions) > 20
    assert not [path.name for path in decisions if f"decisions/{path.stem}.html" not in page]


def test_no_page_is_wider_than_the_window(site: Path, browser: Browser) -> None:
    paths = [path for part in ("", "how-to", "reference") for path in sorted((site / part).glob("*.html"))]
    wide = []
    with browser.new_context() as context:
        page = context.new_page()
        for path in paths:
            page.goto(path.as_uri(), wait_until="domcontentloaded")
            for width in (390, 1100, 1400):
                page.set_viewport_size({"width": width, "height": 900})
                took: int = page.evaluate("document.documentElement.scrollWidth")
                if took > width:
                    wide.append(f"{path.relative_to(site)} takes {took} of {width} pixels")
    assert len(paths) > 20
    assert not wide
