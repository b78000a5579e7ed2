"""What everything written in a group's file is made of: frozen, and strict about unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    # Validators are built at first use: a process that only needs the words should not pay for them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
