"""What every step of the demo works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from scripts.demonstration.images import DemoImages
from scripts.demonstration.memory import Memory, remember
from scripts.local_label_studio import LocalLabelStudio


@dataclass(frozen=True, slots=True)
class Stage:
    """A running Label Studio, the images that are shown in it, and what is remembered of it."""

    folder: Path
    lock: int  # descriptor of the folder's lock
    memory: Memory
    images: DemoImages
    studio: LocalLabelStudio
    console: Console

    def remember(self) -> None:
        """Keep the memory's present state for the next start."""
        remember(self.folder, self.memory)
