"""Where everything that the embedded stack writes lies: one folder, `var/` in the checkout.

``ANOMALY_VAR`` names another folder (tests use their own).
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

CHECKOUT = Path(__file__).resolve().parents[2]


def groups_folder() -> Path:
    """Where the group files are: the sample's, or those in ``ANOMALY_GROUPS``."""
    return Path(os.environ.get("ANOMALY_GROUPS") or CHECKOUT / "dags" / "groups").absolute()


class Secrets(TypedDict):
    """Made once per folder; they guard servers that only loopback reaches."""

    postgres: str
    reader: str
    jwt: str
    session: str
    fernet: str


@dataclass(frozen=True, slots=True)
class Places:
    """The folders under `root`."""

    root: Path

    @classmethod
    def from_environment(cls) -> Places:
        return cls(Path(os.environ.get("ANOMALY_VAR") or CHECKOUT / "var").absolute())

    @property
    def airflow(self) -> Path:
        return self.root / "airflow"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def data_docs(self) -> Path:
        return self.validations / "data_docs"

    @property
    def home(self) -> Path:
        """What programs take for the home folder, so that their caches stay here."""
        return self.root / "home"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def slack(self) -> Path:
        return self.root / "slack"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def validations(self) -> Path:
        return self.root / "validations"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def make(self) -> None:
        """Makes all folders that programs expect to find."""
        for folder in (
            self.airflow,
            self.artifacts,
            self.cache,
            self.data_docs,
            self.home,
            self.logs,
            self.slack,
            self.temporary,
        ):
            folder.mkdir(parents=True, exist_ok=True)

    def secrets(self) -> Secrets:
        """The folder's own secrets, made at the first call, readable by their owner only."""
        path = self.root / "secrets.json"
        if not path.exists():
            made = Secrets(
                postgres=secrets.token_hex(16),
                reader=secrets.token_hex(16),
                jwt=secrets.token_hex(32),
                session=secrets.token_hex(32),
                fernet=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            )
            path.touch(mode=0o600)
            path.write_text(json.dumps(made, indent=2), encoding="utf-8")
        found: Secrets = json.loads(path.read_text(encoding="utf-8"))
        return found
