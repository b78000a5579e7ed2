"""What a person sees while the stack works: lines that are done, and bars for what goes on.

On a terminal the bars move; elsewhere (a log of a build) each change is a line with the time, and nothing else.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Told:
    """Use it as a context manager; `line` and `step` may be called between, from one thread."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()
        self._bars: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[name]:10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def line(self, text: str) -> None:
        """Something is done."""
        self.console.print(f"[dim]{self.seconds:5.0f} s[/]  {text}", highlight=False)

    def step(self, name: str, what: str, *, done: int, total: int) -> None:
        """How far `name` is. Printed only when `what` changes."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task("", name=name, total=total)
        self._progress.update(self._bars[name], description=what, completed=done, total=total)
        if not self.console.is_terminal and self._last.get(name) != what:
            self.line(f"{name}: {what} ({done} of {total} done)")
        self._last[name] = what
        if done == total:
            self._progress.stop_task(self._bars[name])
