"""The project's own Python files, parsed once for the tests about the repository."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ml_backend", "strategies", "scripts", "benchmarks")


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, its dotted name, its text and its syntax tree."""

    path: str
    module: str
    text: str
    tree: ast.Module

    def imports(self) -> set[str]:
        """Name every module that this one imports, anywhere in it, relative ones resolved."""
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.update(self._imported_from(node))
        return found

    def _imported_from(self, node: ast.ImportFrom) -> set[str]:
        parts = self.module.split(".")
        keep = len(parts) - node.level + self.path.endswith("__init__.py")
        base = ".".join([*(parts[:keep] if node.level else []), *filter(None, [node.module])])
        return {base} | {f"{base}.{name.name}" for name in node.names}


@cache
def sources() -> tuple[Source, ...]:
    """Read every Python file of our packages."""
    return tuple(
        _source(file)
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        if "__pycache__" not in file.parts
    )


def _source(file: Path) -> Source:
    path = file.relative_to(ROOT)
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    text = file.read_text()
    return Source(str(path), module, text, ast.parse(text))
