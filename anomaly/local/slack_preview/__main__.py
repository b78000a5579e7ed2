"""``python -m anomaly.local.slack_preview``: see the package's docstring."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from anomaly.local.slack_preview.app import create_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="anomaly.local.slack_preview", description="Slack on this machine.")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--folder", type=Path, required=True, help="where messages and files are kept")
    parser.add_argument("--data-docs", type=Path, help="folder of Great Expectations' Data Docs, shown at /data-docs/")
    given = parser.parse_args()
    app = create_app(given.folder, data_docs=given.data_docs)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
