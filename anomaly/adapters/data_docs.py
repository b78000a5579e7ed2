"""Where Great Expectations keeps its suites, results and Data Docs: a context, and the publishing of one result.

In: the folder of the suites (only ever read) and a folder for results. Out: ``<results>/data_docs/index.html``
and one page per validation, and the results as JSON beside them.

Several tasks publish at the same time into the same folder, so publishing is done under a file lock. An hourly
group makes tens of thousands of validations a year, and building the index reads every result that is kept, so
of each suite and group only the latest `KEPT` stay, and as many failed ones: a failure is still there when
somebody comes to look at it.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

log = logging.getLogger(__name__)

KEPT = 5
LISTED = 200
"""The index lists this many results, of all suites and groups, at most."""
FAILED = "_failed"
"""What the name of a run ends with if anything in it was not as expected."""
_SITE = "data_docs"
_PAGES = "anomaly.adapters.data_docs_pages"


class DataDocs:
    """The suites of a folder, and the pages about their validations in another.

    Args:
        suites: folder with ``<suite>.json``, in the format of Great Expectations' own store.
        results: folder for results and pages; made when it is missing.
    """

    def __init__(self, suites: Path, results: Path) -> None:
        # The library tells of every step it takes, importing itself included; warnings are enough.
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        self._suites = suites
        self._results = results

    @cached_property
    def context(self) -> EphemeralDataContext:
        """A context without telemetry and progress bars. Importing the library takes seconds."""
        import great_expectations as gx
        from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig

        memory = {"class_name": "InMemoryStoreBackend"}
        configuration = DataContextConfig(
            config_version=4.0,
            fluent_datasources={},
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
            expectations_store_name="suites",
            validation_results_store_name="results",
            checkpoint_store_name="checkpoints",
            stores={
                "suites": {"class_name": "ExpectationsStore", "store_backend": _folder(self._suites)},
                "results": {
                    "class_name": "ValidationResultsStore",
                    "store_backend": _folder(self._results / "results"),
                },
                "checkpoints": {"class_name": "CheckpointStore", "store_backend": memory},
                "validation_definition_store": {"class_name": "ValidationDefinitionStore", "store_backend": memory},
            },
            data_docs_sites={
                _SITE: {
                    "class_name": "Site",
                    "module_name": _PAGES,
                    "show_how_to_buttons": False,
                    "store_backend": _folder(self._results / "data_docs"),
                    "site_index_builder": {
                        "class_name": "DefaultSiteIndexBuilder",
                        "validation_results_limit": LISTED,
                        "renderer": {"module_name": _PAGES, "class_name": "IndexRenderer"},
                        "view": {"module_name": _PAGES, "class_name": "IndexView"},
                    },
                    "site_section_builders": {
                        "expectations": {"view": {"module_name": _PAGES, "class_name": "PageView"}},
                        "validations": {"view": {"module_name": _PAGES, "class_name": "PageView"}},
                        "profiling": "None",  # the library's way to say no
                    },
                }
            },
        )
        if not self._suites.is_dir():
            raise ConfigurationError(
                f"{self._suites} is not a folder; set ANOMALY_EXPECTATIONS to the folder with the Great Expectations "
                "suites"
            )
        with self._writing():
            return gx.get_context(mode="ephemeral", project_config=configuration)

    def suite(self, name: str) -> ExpectationSuite:
        """The suite, read through the library's own store.

        The library leaves out expectations that it does not know, with a line in the log; a misspelt check must
        not pass for one that is met, so here that is an error.

        Raises:
            ConfigurationError: it is not there, or the library cannot read all of it.
        """
        from great_expectations.exceptions.exceptions import DataContextError
        from marshmallow import ValidationError

        path = self._suites / f"{name}.json"
        try:
            suite = self.context.suites.get(name)
        except (DataContextError, ValidationError, ValueError, TypeError) as bad:
            there = ", ".join(sorted(path.stem for path in self._suites.glob("*.json"))) or "no suites"
            raise ConfigurationError(
                f"{path} cannot be used as a Great Expectations suite: {bad}. The folder holds {there}; correct the "
                "file, or set ANOMALY_EXPECTATIONS to the folder with the suites"
            ) from bad
        written = json.loads(path.read_text(encoding="utf-8"))
        if suite.name != name:
            raise ConfigurationError(f"{path}: name: found {suite.name!r}; expected the file's name, {name!r}")
        understood = {expectation.expectation_type for expectation in suite.expectations}
        unknown = [each["type"] for each in written["expectations"] if each["type"] not in understood]
        if unknown or not understood:
            found = f"unknown expectations: {', '.join(unknown)}" if unknown else "no expectations"
            raise ConfigurationError(f"{path}: found {found}; expected those of Great Expectations' gallery")
        return suite

    def publish(self, result: ExpectationSuiteValidationResult, *, group: str, run: str) -> str:
        """Keeps a result, writes its page, lists it in the index, and lets go of what is too old.

        Args:
            group: the group's name.
            run: what was validated, fit for a file name.

        Returns:
            Address of the page.

        Raises:
            ConfigurationError: the folder cannot be written to.
        """
        from great_expectations.core.run_identifier import RunIdentifier
        from great_expectations.data_context.types.resource_identifiers import (
            ExpectationSuiteIdentifier,
            ValidationResultIdentifier,
        )

        suite = ExpectationSuiteIdentifier(name=result.suite_name)
        name = run if result.success else run + FAILED
        key = ValidationResultIdentifier(suite, RunIdentifier(name, datetime.now(UTC)), group)
        result.meta["run_id"] = key.run_id
        # For a data frame the library leaves the name out.
        result.meta["batch_spec"]["data_asset_name"] = group
        store = self.context.validation_results_store
        with self._writing(), self._locked():
            store.set(key, result)
            kept: Any = store  # not typed by the library
            for old in _too_old(kept.list_keys(), suite.name, group):
                kept.remove_key(old)
            changed: list[Any] = [key, *self._unpublished(suite)]
            self.context.build_data_docs(site_names=[_SITE], resource_identifiers=changed)
            (site,) = self.context.get_docs_sites_urls(resource_identifier=key, site_name=_SITE)
        return str(site["site_url"])

    def _unpublished(self, suite: ExpectationSuiteIdentifier) -> list[ExpectationSuiteIdentifier]:
        """The suite, if its page is older than its file, or missing."""
        page = self._results / "data_docs" / "expectations" / f"{suite.name}.html"
        written = self._suites / f"{suite.name}.json"
        return [] if page.exists() and page.stat().st_mtime > written.stat().st_mtime else [suite]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._results.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as refused:
            raise ConfigurationError(
                f"validation results cannot be written to {self._results}: {refused}; set ANOMALY_VALIDATIONS to a "
                "folder that this process may write to"
            ) from refused

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._results / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _folder(path: Path) -> dict[str, Any]:
    return {
        "class_name": "TupleFilesystemStoreBackend",
        "base_directory": str(path.absolute()),
        # Else reading the suites writes a file into their folder.
        "suppress_store_backend_id": True,
    }


def _too_old(keys: list[ValidationResultIdentifier], suite: str, group: str) -> list[ValidationResultIdentifier]:
    """All but the latest results of a suite and group, and all but the latest failed ones."""
    by_outcome: dict[bool, list[ValidationResultIdentifier]] = defaultdict(list)
    for key in keys:
        if key.expectation_suite_identifier.name == suite and key.batch_identifier == group:
            by_outcome[str(key.run_id.run_name).endswith(FAILED)].append(key)
    return [
        key
        for same in by_outcome.values()
        for key in sorted(same, key=lambda k: k.run_id.run_time, reverse=True)[KEPT:]
    ]
