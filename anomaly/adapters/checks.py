"""`DataChecks` by Great Expectations: what stages hand over becomes a batch, a suite judges it, a page shows it.

In: a source, a grid, a history, predictions. Out: the rejected source rows and the constant variables; or
`ExpectationFailedError`, when an expectation of severity ``critical`` fails. Expectations of severity
``warning`` (single bad rows) and ``info`` (facts) never fail a task.

- ``source_rows`` runs in the source's own engine, on `EventSource.batch_query`. `add_postgres` insists on a host
  in the URL and so refuses unix sockets; `add_sql` takes any SQLAlchemy URL (and warns that the former would be
  more specific). The library passes a query's text through SQLAlchemy's ``text()`` several times, each of which
  reads ``:name`` as a parameter and doubles ``%``; a user's query, a regular expression or a variable's name
  would not survive that. So the library sees a placeholder as the table, and the batch takes its place when the
  statement goes to the driver. Great Expectations' own way to get hold of failing rows,
  `ValidationDefinition.get_unexpected_rows`, fetches without limit, once per expectation, and cannot tell one row
  that fails twice from two rows; so the rows are fetched by one query made of the same expectations' conditions,
  which gives each row once, with all its reasons, and stops at `REJECTED_AT_MOST`.
- ``counts`` and ``training_windows`` judge one row per variable rather than one per cell: numpy sums up what
  proves completeness, uniqueness, wholeness and sign, at a cost that stays small for a year of ten thousand
  variables.
- ``predictions`` judges one row per judged cell.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy
from numpy.typing import NDArray

from anomaly.adapters.data_docs import DataDocs
from anomaly.adapters.postgres import batch
from anomaly.adapters.postgres.source_errors import translated, underlying
from anomaly.detection.grid import CountGrid
from anomaly.exceptions import ExpectationFailedError
from anomaly.groups import Group, TimeRange
from anomaly.ports import EventSource, HistorySummary, Predictions, RejectedRow

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.datasource.fluent.interfaces import Batch

log = logging.getLogger(__name__)

REJECTED_AT_MOST = 100_000
"""Rejected rows that one check returns. Beyond it, an error is logged; the rest stays in the source."""
SHOWN = 5
_PLACEHOLDER = '"rows of the range"'


class GreatExpectationsChecks:
    """The checks of all stages.

    Args:
        suites: folder with the suites, as JSON.
        results: folder for validation results and Data Docs.
    """

    def __init__(self, suites: Path, results: Path) -> None:
        self._suites = suites
        self._docs = DataDocs(suites, results)

    def source_rows(
        self, group: Group, source: EventSource, within: TimeRange, *, read_at: datetime
    ) -> Sequence[RejectedRow]:
        """Suite ``source_rows``, in the source's engine.

        Returns:
            Every rejected row of the group's variables or of none, at most `REJECTED_AT_MOST`: those in the range
            first. A row that fails several expectations comes once, with all reasons.

        Raises:
            ExpectationFailedError: the batch does not have the columns of events.
            SourceSchemaError, SourceUnavailableError: the source cannot be read.
        """
        with _quietly(), self._source_batch(group, source, within, read_at) as (rows, engine, failures):
            result = rows.validate(self._docs.suite("source_rows"), result_format="SUMMARY")
            _raise_for_database(failures, group)
            self._conclude(result, group, within)
            if all(outcome.success for outcome in result.results):
                return []
            try:
                rejected = _rejected(engine, batch.rejection_rules(self._suites))
            except sqlalchemy.exc.SQLAlchemyError as error:
                _raise_for_database([error], group)
                raise
        if len(rejected) > REJECTED_AT_MOST:
            log.error(
                "group %s: more than %d source rows failed for %s; the first %d go to quarantine, the others are "
                "left out of the counts just the same and stay in the source",
                group.name, REJECTED_AT_MOST, within, REJECTED_AT_MOST,
            )  # fmt: skip
        return [
            row
            for row in rejected[:REJECTED_AT_MOST]
            if not row.row["variable"] or row.row["variable"] in group.variables
        ]

    def counts(self, group: Group, grid: CountGrid, within: TimeRange) -> None:
        """Suite ``counts``: the complete variables x intervals grid, unique, whole, non-negative.

        Raises:
            ExpectationFailedError
        """
        self._validate_frame(
            "counts",
            group,
            within,
            count_rows(grid, within, listed=group.variables.names or ()),
            {"intervals": len(within)},
            {"result_format": "SUMMARY", "unexpected_index_column_names": ["variable"]},
        )

    def training_windows(self, group: Group, history: HistorySummary) -> Sequence[str]:
        """Suite ``training_windows``: no NaN, enough history.

        Too little history fails only if it is all variables' lot: a variable that is new gets its fallback.

        Returns:
            The names of variables whose count never changes, in the history's order.

        Raises:
            ExpectationFailedError
        """
        result = self._validate_frame(
            "training_windows",
            group,
            None,
            history_rows(history),
            {"required": history.required},
            {"result_format": "COMPLETE", "unexpected_index_column_names": ["variable"]},
        )
        constant = _named_by("constant", result)
        if constant:
            log.info("group %s: %d variables never change: %s", group.name, len(constant), _some(constant))
        return constant

    def predictions(self, group: Group, predictions: Predictions, within: TimeRange) -> None:
        """Suite ``predictions``: finite, thresholds ordered, probabilities in [0, 1]. Judged cells only.

        A threshold may be infinite: a group that only cares for drops has no upper one.

        Raises:
            ExpectationFailedError
        """
        self._validate_frame(
            "predictions",
            group,
            within,
            judged_cells(predictions),
            {},
            # Naming columns makes the library go through failing rows one by one, of which there may be millions.
            {"result_format": "SUMMARY"},
        )

    # --- batches ------------------------------------------------------------------------------------------------

    def _validate_frame(
        self,
        suite: str,
        group: Group,
        within: TimeRange | None,
        columns: Mapping[str, Any],
        parameters: dict[str, Any],
        result_format: dict[str, Any],
    ) -> ExpectationSuiteValidationResult:
        import pandas as pd

        with _quietly():
            frame = pd.DataFrame(dict(columns))
            assets = self._docs.context.data_sources.add_or_update_pandas(suite)
            definition = assets.add_dataframe_asset(group.name).add_batch_definition_whole_dataframe("all")
            rows = definition.get_batch({"dataframe": frame})
            result = rows.validate(
                self._docs.suite(suite), result_format=result_format, expectation_parameters=parameters
            )
            self._conclude(result, group, within, frame)
        return result

    @contextmanager
    def _source_batch(
        self, group: Group, source: EventSource, within: TimeRange, read_at: datetime
    ) -> Iterator[tuple[Batch, Any, list[BaseException]]]:
        """The batch, its engine, and the list that the database's errors are put on (the library swallows them)."""
        from great_expectations.exceptions.exceptions import GreatExpectationsError

        failures: list[BaseException] = []
        sources = self._docs.context.data_sources
        try:
            database = sources.add_or_update_sql(group.source.connection, connection_string=source.url)
            engine = database.get_execution_engine().engine
        except (GreatExpectationsError, sqlalchemy.exc.SQLAlchemyError, ConnectionError) as error:
            _raise_for_database([error], group)
            raise
        _guard(engine, group, source.batch_query(within, read_at=read_at), failures)
        names = ", ".join(batch.identifier(name) for name in (*batch.COLUMNS, *batch.CONSTANTS))
        try:
            asset = database.add_query_asset(group.name, f"SELECT {names} FROM {_PLACEHOLDER}")  # noqa: S608  constants
            yield asset.add_batch_definition_whole_table("all").get_batch(), engine, failures
        finally:
            engine.dispose()
            sources.delete(group.source.connection)

    def _conclude(
        self,
        result: ExpectationSuiteValidationResult,
        group: Group,
        within: TimeRange | None,
        frame: pd.DataFrame | None = None,
    ) -> None:
        """Publishes the result; raises if anything critical failed. The frame is what failing rows are named by."""
        run = f"{within.start:%Y%m%dT%H%MZ}-{within.end:%Y%m%dT%H%MZ}" if within else "history"
        page = self._docs.publish(result, group=group.name, run=run)
        log.info(
            "group %s: suite %s: %d of %d expectations met; %s",
            group.name,
            result.suite_name,
            sum(bool(outcome.success) for outcome in result.results),
            len(result.results),
            page,
        )
        hard = [
            outcome
            for outcome in result.results
            if not outcome.success and (_severity(outcome) == "critical" or _raised(outcome))
        ]
        if hard:
            where = f"group {group.name}" + (f", {within}" if within else "")
            raise ExpectationFailedError(result.suite_name, [_line(outcome, frame) for outcome in hard], where=where)


# --- rows to judge ----------------------------------------------------------------------------------------------


def count_rows(grid: CountGrid, within: TimeRange, *, listed: Sequence[str] = ()) -> dict[str, Any]:
    """One row per variable of the grid, and per listed one that it lacks, as columns (V,).

    ``intervals``: intervals of the range that have a cell, less cells beside the range; ``repeated``: cells beyond
    the first of an interval; ``missing``: cells without a count after the first one with a count; ``lowest``: the
    smallest count, NaN without any; ``fractional``: counts that are not whole or not finite.
    """
    counts, variables = np.asarray(grid.counts, dtype=np.float64), len(grid.variables)
    present = set(grid.variables)
    absent = [name for name in listed if name not in present]
    distinct = np.unique(grid.starts)
    covered = np.isin(distinct, within.starts())
    intervals = int(covered.sum()) - int((~covered).sum())
    known = ~np.isnan(counts)
    begun = np.logical_or.accumulate(known, axis=1)
    with np.errstate(invalid="ignore"):
        whole = np.mod(counts, 1) == 0
    lowest = np.min(counts, axis=1, initial=np.inf, where=known)
    none = np.zeros(len(absent), dtype=np.int64)
    return {
        "variable": np.array([*grid.variables, *absent], dtype=object),
        "intervals": np.concatenate([np.full(variables, intervals), none]),
        "repeated": np.concatenate([np.full(variables, len(grid.starts) - len(distinct)), none]),
        "missing": np.concatenate([(begun & ~known).sum(axis=1), none]),
        "lowest": np.concatenate([np.where(known.any(axis=1), lowest, np.nan), np.full(len(absent), np.nan)]),
        "fractional": np.concatenate([(known & ~whole).sum(axis=1), none]),
    }


def history_rows(history: HistorySummary) -> dict[str, Any]:
    """One row per variable, as columns (V,); ``distinct`` is NaN for a variable without any history."""
    return {
        "variable": np.array(history.variables, dtype=object),
        "intervals": history.intervals,
        "missing": history.missing,
        "distinct": np.where(history.intervals > 0, history.distinct, np.nan),
        "minimum": history.minimum,
        "maximum": history.maximum,
    }


def judged_cells(predictions: Predictions) -> dict[str, Any]:
    """One row per cell in which anything but the observed count is known, as columns."""
    judgements = {
        "predicted": predictions.predicted,
        "residual": predictions.residuals,
        "tail_probability": predictions.tail_probabilities,
        "lower": predictions.lower,
        "upper": predictions.upper,
    }
    judged: NDArray[np.bool_] = ~np.logical_and.reduce([np.isnan(values) for values in judgements.values()])
    variables, intervals = np.nonzero(judged)
    names = np.array([variable.name for variable in predictions.variables], dtype=object)
    return {
        "variable": names[variables],
        "start": np.datetime_as_string(predictions.starts[intervals], unit="m", timezone="UTC"),
        "observed": predictions.observed[judged],
        **{name: values[judged] for name, values in judgements.items()},
    }


# --- the source's engine ----------------------------------------------------------------------------------------


def _guard(engine: Any, group: Group, rows: str, failures: list[BaseException]) -> None:
    """Makes every transaction read-only, in UTC and under the time-out, and puts the batch in its place."""
    # The driver takes "%%" for a percent sign.
    inserted = f"(\n{rows}\n) AS rows_of_the_range".replace("%", "%%")
    milliseconds = int(group.source.statement_timeout.total_seconds() * 1000)

    def begin(connection: Any) -> None:
        if failures:
            # The library tries what failed again, twice, and everything else as well: after a time-out, an hour's wait.
            raise failures[0]
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
        connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")

    def insert(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> tuple[str, Any]:
        return statement.replace(_PLACEHOLDER, inserted), parameters

    sqlalchemy.event.listen(engine, "begin", begin)
    sqlalchemy.event.listen(engine, "before_cursor_execute", insert, retval=True)
    sqlalchemy.event.listen(engine, "handle_error", lambda context: failures.append(context.original_exception))


def _rejected(engine: Any, rules: Sequence[batch.Rule]) -> list[RejectedRow]:
    """At most one row more than `REJECTED_AT_MOST`."""
    event = ", ".join(f"CAST({batch.identifier(name)} AS text)" for name in batch.COLUMNS)
    verdicts = ", ".join(f"({rule.condition}) IS TRUE" for rule in rules)
    query = (
        f"SELECT {event}, {verdicts} FROM {_PLACEHOLDER} WHERE {batch.any_of(rules)} "  # noqa: S608  constants
        f"LIMIT {REJECTED_AT_MOST + 1}"
    )
    with engine.connect() as connection:
        found = connection.exec_driver_sql(query).fetchall()
    return [
        RejectedRow(
            reason="; ".join(
                rule.reason for rule, broken in zip(rules, row[len(batch.COLUMNS) :], strict=True) if broken
            ),
            row=dict(zip(batch.COLUMNS, row, strict=False)),
        )
        for row in found
    ]


def _raise_for_database(failures: Sequence[BaseException], group: Group) -> None:
    for failure in failures:
        error = underlying(failure)
        if error is not None:
            raise translated(error, group) from error


# --- results ----------------------------------------------------------------------------------------------------


def _severity(outcome: ExpectationValidationResult) -> str:
    configuration = outcome.expectation_config
    severity = configuration.severity if configuration is not None else "critical"
    return str(getattr(severity, "value", severity))


def _line(outcome: ExpectationValidationResult, frame: pd.DataFrame | None) -> str:
    """``expectation on 'column': what was observed. Expected: what it says.``"""
    configuration = outcome.expectation_config
    if configuration is None:
        return str(outcome)
    of = configuration.kwargs
    columns = [of["column"]] if "column" in of else [of[key] for key in ("column_A", "column_B") if key in of]
    where = f" on {' and '.join(repr(column) for column in columns)}" if columns else ""
    observed = _observed(outcome, columns, frame)
    return f"{configuration.type}{where}: {observed}. Expected: {configuration.description}"


def _observed(outcome: ExpectationValidationResult, columns: Sequence[str], frame: pd.DataFrame | None) -> str:
    if raised := _raised(outcome):
        return f"could not be evaluated: {raised[0].get('exception_message')}"
    found = outcome.result
    if "unexpected_count" not in found:
        asked = outcome.expectation_config.kwargs if outcome.expectation_config else {}
        bounds = "".join(f", {name} {asked[name]!r}" for name in ("min_value", "max_value") if name in asked)
        return f"found {_plain(found.get('observed_value'))!r}{bounds}"
    failed = f"{found['unexpected_count']} of {found['element_count']} rows fail"
    places = [_place(index, columns, frame) for index in found.get("partial_unexpected_index_list") or []]
    return f"{failed} ({_some(places, separator='; ')})" if places else failed


def _raised(outcome: ExpectationValidationResult) -> list[Mapping[str, Any]]:
    """The exceptions in place of an observation: of the expectation itself, or of the metrics that it needs."""
    info = outcome.exception_info or {}
    all_info = (
        [info] if "raised_exception" in info else [nested for nested in info.values() if isinstance(nested, dict)]
    )
    return [each for each in all_info if each.get("raised_exception")]


def _place(index: Any, columns: Sequence[str], frame: pd.DataFrame | None) -> str:
    """A failing row: what names it, then the columns that were judged. `index` is a row's number, or its values."""
    if not isinstance(index, dict):
        if frame is None:
            return f"row {index}"
        index = frame.loc[index, [*(name for name in ("variable", "start") if name in frame), *columns]].to_dict()
    named = [f"{name} {index[name]!r}" for name in ("variable", "start") if name in index]
    return ", ".join(
        named + [f"{name} {_plain(index[name])!r}" for name in columns if name in index and name != "variable"]
    )


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _some(things: Sequence[Any], separator: str = ", ") -> str:
    shown = separator.join(str(thing) for thing in things[:SHOWN])
    return f"{shown}{separator}…" if len(things) > SHOWN else shown


def _named_by(soft: str, result: ExpectationSuiteValidationResult) -> list[str]:
    """The variables for which the expectation with this ``meta.soft`` does not hold."""
    return [
        index["variable"]
        for outcome in result.results
        if outcome.expectation_config is not None and (outcome.expectation_config.meta or {}).get("soft") == soft
        for index in outcome.result.get("unexpected_index_list") or []
    ]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's warnings about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
