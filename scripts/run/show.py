"""Shows how a run stands: a table that is drawn again on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from scripts.run.config import Labeling
from scripts.run.target import Standing, labels_to_go

PACE_WINDOW_S = 600.0  # how far back the time a label is measured
LINE_EVERY_S = 10.0  # where it is no terminal
SHOWN_CLASSES = 12


class Board:
    """Draws standings while the block runs."""

    def __init__(self, console: Console, labeling: Labeling) -> None:
        self._console = console
        self._labeling = labeling
        self._seen: deque[tuple[float, int]] = deque()
        self._last_line: tuple[float, int] = (float("-inf"), -1)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Board:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, now: Standing) -> None:
        """Draw a standing; off a terminal, print a line for news, every ten seconds at most."""
        at = time.monotonic()
        pace_s = self._seconds_a_label(at, now.labeled)
        if self._live:
            self._live.update(self._table(now, pace_s), refresh=True)
            return
        last_at, last_labeled = self._last_line
        if now.labeled != last_labeled and at - last_at >= LINE_EVERY_S:
            self._last_line = (at, now.labeled)
            facts = (f"{name} {value}" for name, value in self._facts(now, pace_s))
            line = "; ".join(facts)
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _seconds_a_label(self, at: float, labeled: int) -> float | None:
        """Return the mean time a label over the last minutes; None before the second one."""
        if not self._seen or self._seen[-1][1] != labeled:
            self._seen.append((at, labeled))
        while at - self._seen[0][0] > PACE_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        return (last_at - first_at) / (last - first) if last > first else None

    def _facts(self, now: Standing, pace_s: float | None) -> list[tuple[str, str]]:
        to_go = labels_to_go(self._labeling, now)
        facts = [("labels", f"{now.labeled} of {now.labeled + to_go} ({now.tasks} images)")]
        if now.accuracy is not None and now.interval is not None:
            low, high = now.interval
            facts.append(("accuracy", f"{now.accuracy:.1%} ({low:.1%} to {high:.1%})"))
        if pace_s is not None:
            facts.append(("time a label", f"{pace_s:.1f} s"))
            facts.append(("to go", f"{to_go} labels, about {_in_words(to_go * pace_s)}"))
        if now.classes:
            facts.append(("classes", _classes(now.classes)))
        if now.queue:
            facts.append(("queue", now.queue))
        return facts

    def _table(self, now: Standing, pace_s: float | None) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, value in self._facts(now, pace_s):
            table.add_row(f"[bold]{name}[/]", escape(value))
        return table


def _classes(counts: dict[str, int]) -> str:
    by_count = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    text = ", ".join(f"{name}: {count}" for name, count in by_count[:SHOWN_CLASSES])
    more = len(by_count) - SHOWN_CLASSES
    return f"{text} and {more} more" if more > 0 else text


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
