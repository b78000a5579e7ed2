"""Reviews of fits, verdicts on them, who serves from when, and looks for drift, in the metadata database."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import psycopg2.extras

from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.adapters.postgres.store import FIT_COLUMNS, read_fit
from anomaly.groups import Group
from anomaly.ports import Fit
from anomaly.ports.reviews import DriftCheck, Review, Serving, Verdict

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_SERVING = "group_name, fit_id, serves_from, why, who, via, decided_at, told, id"
_VERDICT = "fit_id, word, who, via, decided_at, why"


class PostgresReviews:
    """Port `Reviews`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = arguments

    def fits(self, group: Group, *, limit: int = 100) -> tuple[Fit, ...]:
        return self._fits("f.group_name = %s ORDER BY f.created_at DESC, f.id LIMIT %s", (group.name, limit))

    def fit_of_version(self, group: Group, version: int) -> Fit | None:
        found = self._fits("f.group_name = %s AND f.model_version = %s", (group.name, version))
        return found[0] if found else None

    def _fits(self, condition: str, values: tuple[Any, ...]) -> tuple[Fit, ...]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(f"SELECT {FIT_COLUMNS}, f.serves_from FROM fits f WHERE {condition}", values)
            return tuple(read_fit(row) for row in cursor.fetchall())

    # --- reviews and verdicts -------------------------------------------------------------------------------------

    def save(self, review: Review) -> None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                "INSERT INTO reviews (fit_id, made_at, review) VALUES (%s, %s, %s) ON CONFLICT (fit_id) DO UPDATE "
                "SET made_at = excluded.made_at, review = excluded.review",
                (review.fit_id, review.made_at, psycopg2.extras.Json(_reviews().dump_python(review, mode="json"))),
            )

    def review(self, fit_id: str) -> Review | None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("SELECT review FROM reviews WHERE fit_id = %s", (fit_id,))
            found = cursor.fetchone()
        return _reviews().validate_python(found[0]) if found else None

    def decide(self, verdict: Verdict) -> Verdict:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                f"INSERT INTO verdicts_on_fits ({_VERDICT}) VALUES (%s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (fit_id) DO NOTHING",
                _of_verdict(verdict),
            )
        return self.verdict(verdict.fit_id) or verdict

    def overrule(self, verdict: Verdict) -> Verdict:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                f"INSERT INTO verdicts_on_fits ({_VERDICT}) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (fit_id) DO "
                "UPDATE SET word = excluded.word, who = excluded.who, via = excluded.via, "
                "decided_at = excluded.decided_at, why = excluded.why",
                _of_verdict(verdict),
            )
        return verdict

    def verdict(self, fit_id: str) -> Verdict | None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(f"SELECT {_VERDICT} FROM verdicts_on_fits WHERE fit_id = %s", (fit_id,))
            found = cursor.fetchone()
        return Verdict(*found) if found else None

    # --- who serves -----------------------------------------------------------------------------------------------

    def serve(self, serving: Serving) -> Serving:
        with metadata_cursor(self._arguments) as cursor:
            # Two decisions at once take turns: which of them holds is the order in which they are written.
            cursor.execute("SELECT FROM fits WHERE group_name = %s ORDER BY id FOR UPDATE", (serving.group,))
            cursor.execute(
                f"SELECT {_SERVING} FROM servings WHERE group_name = %s ORDER BY serves_from DESC, id DESC LIMIT 1",
                (serving.group,),
            )
            latest = cursor.fetchone()
            if latest and (latest[1], latest[2]) == (serving.fit_id, serving.serves_from):
                return Serving(*latest)
            cursor.execute(
                f"INSERT INTO servings ({_SERVING.removesuffix(', id')}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
                f"RETURNING {_SERVING}",
                (
                    *(serving.group, serving.fit_id, serving.serves_from, serving.why, serving.who, serving.via),
                    *(serving.at, serving.told),
                ),
            )
            made = Serving(*cast("tuple[Any, ...]", cursor.fetchone()))
            cursor.execute(
                "UPDATE fits SET state = 'promoted', serves_from = coalesce(serves_from, %s) WHERE id = %s",
                (serving.serves_from, serving.fit_id),
            )
            return made

    def told(self, serving: Serving) -> None:
        with metadata_cursor(self._arguments) as cursor:
            # Whatever was decided before it needs no telling any more.
            cursor.execute(
                "UPDATE servings SET told = true WHERE group_name = %s AND id <= %s AND NOT told",
                (serving.group, serving.id),
            )

    def servings(self, group: Group) -> tuple[Serving, ...]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                f"SELECT {_SERVING} FROM servings WHERE group_name = %s ORDER BY serves_from, id", (group.name,)
            )
            return tuple(Serving(*row) for row in cursor.fetchall())

    # --- drift ----------------------------------------------------------------------------------------------------

    def save_drift(self, check: DriftCheck) -> None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                "INSERT INTO drift_checks (group_name, fit_id, starts, ends, variables, drifted, asked, said, "
                "checked_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (group_name, ends) DO NOTHING",
                (
                    *(check.group, check.fit_id, check.start, check.end, check.variables, list(check.drifted)),
                    *(check.asked, check.said, check.at),
                ),
            )

    def drift_checks(self, group: Group, *, limit: int = 100) -> tuple[DriftCheck, ...]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                "SELECT group_name, fit_id, starts, ends, variables, drifted, asked, said, checked_at "
                "FROM drift_checks WHERE group_name = %s ORDER BY ends DESC LIMIT %s",
                (group.name, limit),
            )
            return tuple(
                DriftCheck(group_name, fit_id, start, end, variables, tuple(drifted), asked, said, at)
                for group_name, fit_id, start, end, variables, drifted, asked, said, at in cursor.fetchall()
            )


def _of_verdict(verdict: Verdict) -> tuple[Any, ...]:
    return verdict.fit_id, verdict.word, verdict.who, verdict.via, verdict.at, verdict.why


@cache
def _reviews() -> TypeAdapter[Review]:
    from pydantic import TypeAdapter

    return TypeAdapter(Review)
