"""``python -m anomaly``: the command line."""

from __future__ import annotations

from anomaly.cli import app

if __name__ == "__main__":
    app(prog_name="anomaly")
