"""How Data Docs look: pages that need nothing from the network, in place of the library's own.

In: what Great Expectations renders (sections of blocks, links of the index). Out: HTML.

The library's pages load their styles and scripts from five content networks; without them the index is empty,
and a company's network rarely lets them through. These views put the library's own rendered blocks into a page
that carries its style with it, and list the validations in a plain table. They also share one template
environment: the library makes one per view, and compiling the templates again each time is most of what building
the site costs.

Only Great Expectations imports this module, by name, from the configuration in `data_docs`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from great_expectations.render.renderer.site_builder import SiteBuilder  # noqa: TID253  loaded by the library itself
from great_expectations.render.view.view import DefaultJinjaPageView  # noqa: TID253  loaded by the library itself
from jinja2 import ChoiceLoader, Environment, PackageLoader

from anomaly.adapters.data_docs import FAILED, KEPT


@cache
def _environment() -> Environment:
    """The library's templates and filters, with ours before them."""
    environment: Environment = DefaultJinjaPageView().env
    library = environment.loader
    ours = PackageLoader("anomaly.adapters", "data_docs_templates")
    environment.loader = ChoiceLoader([ours, library] if library else [ours])
    environment.filters["in_words"] = _in_words
    return environment


def _in_words(run: str) -> str:
    """The range in a run's name, as people write it."""
    run = run.replace(FAILED, "")
    written = re.sub(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)Z", r"\1-\2-\3 \4:\5", run)
    return re.sub(r"(\d\d:\d\d)-(\d{4}-\d\d-\d\d \d\d:\d\d)", r"\1 to \2 UTC", written)


class PageView(DefaultJinjaPageView):
    """The page of a validation or of a suite."""

    _template = "document.j2"

    def __init__(self, **_directories: Any) -> None:
        self.env = _environment()


class IndexRenderer:
    """Hands the index's links to the view as they are."""

    def render(self, links: dict[str, Any]) -> dict[str, Any]:
        return links


class IndexView:
    """The page that lists the suites and the latest validations."""

    def __init__(self, **_directories: Any) -> None:
        self._template = _environment().get_template("index.j2")

    def render(self, links: dict[str, Any], **_options: Any) -> str:
        return self._template.render(
            suites=links.get("expectations_links", []),
            validations=links.get("validations_links", []),
            kept=KEPT,
        )


class Site(SiteBuilder):
    """The site, without the library's fonts and images: four megabytes that no page here refers to."""

    def build(self, resource_identifiers: Any = None, build_index: bool = True) -> Any:  # noqa: FBT001, FBT002  theirs
        for section in self.site_section_builders.values():
            section.build(resource_identifiers=resource_identifiers)
        _, links = self.site_index_builder.build(build_index=build_index)
        return self.get_resource_url(only_if_exists=False), links
