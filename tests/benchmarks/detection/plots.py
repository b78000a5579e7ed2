"""The pictures of the benchmark: recall against false incidents, and calibration curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.detection.measures import Calibration, Curve

FOLDER = Path("var/bench-detection")
OURS, ORACLE = "#0b5cad", "#2e2e2e"
_OTHERS = ("#c0504d", "#e08e2b", "#8064a2", "#4f9d69", "#b0b03b", "#d977b4", "#6f9fd8", "#8c6d53", "#999999")


def recall_curves(curves: Mapping[str, Sequence[Curve]], slice_name: str) -> Path:
    """Recall over false incidents per 1,000 variable-days, a line per detector, all seeds averaged."""
    figure, axes = _figure()
    rates = np.logspace(np.log10(0.5), 2, 60)
    colours = iter(_OTHERS * 2)
    for name, of_seeds in curves.items():
        recalls = np.mean([[_recall_at(one, rate) for rate in rates] for one in of_seeds], axis=0)
        special = name in {"ours", "oracle"}
        colour = {"ours": OURS, "oracle": ORACLE}.get(name) or next(colours)
        style = "--" if name == "oracle" else "-"
        axes.plot(rates, recalls, style, color=colour, linewidth=2.4 if special else 1.3, label=name)
    for aim in (5, 20):
        axes.axvline(aim, color="#dddddd", zorder=0)
    axes.set(
        xscale="log", ylim=(0, 1), xlabel="false incidents per 1,000 variable-days", ylabel="injected incidents found",
        title=slice_name,
    )  # fmt: skip
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return _saved(figure, f"recall-{_file_name(slice_name)}")


def calibration_curves(curves: Mapping[str, Sequence[Calibration]], rate_class: str) -> Path:
    """Realised over promised rate, a line and its 95 % interval per detector; 1 is right."""
    figure, axes = _figure()
    for (name, rows), colour in zip(curves.items(), (OURS, ORACLE, *_OTHERS), strict=False):
        of_class = [one for one in rows if one.rate_class == rate_class]
        levels, ratios, lows, highs = (
            np.array([getattr(one, what) for one in of_class]) for what in ("level", "ratio", "low", "high")
        )
        axes.plot(levels, levels * ratios, "o-", markersize=3, color=colour, label=name)
        axes.fill_between(levels, levels * lows, levels * highs, color=colour, alpha=0.15, linewidth=0)
    ends = np.array([1e-5, 1e-1])
    axes.plot(ends, ends, color="#999999", linewidth=1)
    axes.fill_between(ends, ends / 2, ends * 2, color="#dddddd", alpha=0.5, linewidth=0, zorder=0)
    axes.set(
        xscale="log", yscale="log", xlabel="promised rate", ylabel="realised rate", ylim=(1e-6, 1),
        title=f"Clean counts, events per hour: {rate_class}",
    )  # fmt: skip
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return _saved(figure, "calibration")


def _recall_at(curve: Curve, rate: float) -> float:
    return float((curve.best >= curve.threshold_at(rate)).mean()) if len(curve.best) else np.nan


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5), layout="constrained", dpi=130)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _saved(figure: Any, name: str) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.png"
    figure.savefig(path)
    return path


def _file_name(text: str) -> str:
    words = "".join(character if character.isalnum() else " " for character in text)
    return "-".join(words.split()).lower()
