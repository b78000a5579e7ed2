"""Runs every benchmark, prints a table and what it writes to ``var/bench.json``; fails when a goal is missed."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measuring import Figure

RESULTS = Path("var/bench.json")
UPDATE_GOAL = 5


def _fit() -> list[Figure]:
    from tests.benchmarks.fit_bench import fit_benchmark

    return fit_benchmark()


def _predict() -> list[Figure]:
    from tests.benchmarks.predict_bench import predict_benchmark

    return predict_benchmark()


def _update() -> list[Figure]:
    from tests.benchmarks.update_bench import measure

    measured = {name: round(value, 4) for name, value in measure().items()}
    return [
        Figure(
            f"update: an hour of 10 million rows ({table}), against 1 million",
            measured[f"{table}_ratio"],
            UPDATE_GOAL,
            "at most",
            "x",
            measured,
        )
        for table in ("longer", "denser")
    ]


def _review() -> list[Figure]:
    from tests.benchmarks.review_bench import review_benchmark

    return review_benchmark()


BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "predict": _predict,
    "update": _update,
    "review": _review,
    "fit": _fit,
}
"""Predict first: its cold processes want a machine that is not busy with this one's threads."""


def _measured(console: Console, wanted: list[str]) -> Iterator[Figure]:
    for name in wanted:
        with console.status(f"measuring {name}, which takes minutes"):
            yield from BENCHMARKS[name]()


def main(wanted: list[str]) -> int:
    """Exit status: 0 when every goal is reached, 1 when one is missed, 2 for an unknown name."""
    unknown = sorted(set(wanted) - set(BENCHMARKS))
    if unknown:
        print(f"unknown: {', '.join(unknown)}; expected some of {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # the loop traces one network after another
    console = Console(width=max(Console().width, 120))
    figures = list(_measured(console, wanted or list(BENCHMARKS)))
    table = Table("figure", "measured", "goal", "reached", "from")
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.value:.3g} {figure.unit}",
            "" if figure.goal is None else f"{figure.sense} {figure.goal:g}",
            "" if figure.goal is None else "yes" if figure.reached else "NO",
            "\n".join(f"{name} = {value}" for name, value in figure.details.items()),
            end_section=True,
        )
    console.print(table)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    written = {f.name: asdict(f) | {"reached": f.reached} for f in figures}
    text = json.dumps(written, indent=2)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(f"\n{RESULTS}:\n{text}")
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
