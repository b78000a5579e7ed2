"""Runs the wanted sections: ``python -m tests.benchmarks.detection [SECTION…] [--seeds tuning|101,102]``.

Prints tables, writes ``var/bench-detection.json`` (each section replaces its own part and leaves the others) and draws
pictures. Ends with 0 when everything was measured, reached or not: some aims lie beyond what the data allows, and the
oracle's rows say which.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks.detection import data
from tests.benchmarks.detection.reporting import Section, goals_table, plain

RESULTS = Path("var/bench-detection.json")


def _calibration(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.calibration_bench import calibration_benchmark

    return calibration_benchmark(seeds)


def _forecast(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.forecast_bench import forecast_benchmark

    return forecast_benchmark(seeds)


def _injected(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.injected_bench import injected_benchmark

    return injected_benchmark(seeds)


def _peers(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.injected_bench import peers_benchmark

    return peers_benchmark(seeds)


def _prophet(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.injected_bench import prophet_benchmark

    return prophet_benchmark(seeds)


def _flights(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.flights_bench import flights_benchmark

    return flights_benchmark(seeds)


def _nab(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.nab_bench import nab_benchmark

    return nab_benchmark(seeds)


def _kpi(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.detection.kpi_bench import kpi_benchmark

    return kpi_benchmark(seeds)


def _ranking(seeds: Sequence[int]) -> Section:
    from tests.benchmarks.ranking_bench import ranking_benchmark

    return ranking_benchmark(seeds)


SECTIONS: dict[str, Callable[[Sequence[int]], Section]] = {
    "calibration": _calibration,
    "forecast": _forecast,
    "injected": _injected,
    "peers": _peers,
    "flights": _flights,
    "nab": _nab,
    "kpi": _kpi,
    "ranking": _ranking,
    "prophet": _prophet,
}
LEFT_OUT = frozenset({"prophet"})
"""Only when asked for: minutes for a few series."""


def main(arguments: Sequence[str]) -> int:
    wanted, seeds = _read(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    console = Console(width=max(Console().width, 130))
    measured: dict[str, Section] = {}
    for name in wanted:
        began = time.perf_counter()
        with console.status(f"measuring {name}, which takes minutes"):
            measured[name] = SECTIONS[name](seeds)
        console.rule(f"{name}: {time.perf_counter() - began:.0f} s")
        for table in measured[name].tables:
            console.print(table)
        if measured[name].skipped:
            console.print(f"Skipped: {measured[name].skipped}", markup=False)
        _write(name, measured[name], seeds)
    console.print(goals_table(measured))
    console.print(f"All of it is in {RESULTS}; pictures are in var/bench-detection.")
    return 0


def _read(arguments: Sequence[str]) -> tuple[list[str], tuple[int, ...]]:
    """Wanted sections in their order, and seeds."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.detection", description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument(
        "--seeds",
        default=",".join(map(str, data.REPORTING_SEEDS)),
        help=f"'tuning' ({data.TUNING_SEED}: the only one to choose constants by), or numbers; reported: %(default)s",
    )
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.sections) - set(SECTIONS)):
        parser.error(f"unknown sections {', '.join(unknown)}; expected some of {', '.join(SECTIONS)}")
    try:
        seeds = (data.TUNING_SEED,) if asked.seeds == "tuning" else tuple(int(one) for one in asked.seeds.split(","))
    except ValueError:
        parser.error(f"--seeds is {asked.seeds!r}; expected 'tuning' or numbers such as 101,102")
    return [name for name in SECTIONS if name in (asked.sections or SECTIONS.keys() - LEFT_OUT)], seeds


def _write(name: str, section: Section, seeds: Sequence[int]) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "{}"
    goals = [
        {"figure": one.name, "value": one.value, "sense": one.sense, "goal": one.goal, "reached": one.reached}
        for one in section.goals
    ]
    part = {"seeds": seeds, "goals": goals, "skipped": section.skipped, "figures": section.written}
    RESULTS.write_text(json.dumps(json.loads(text) | {name: plain(part)}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
