"""Images in a folder: flat, nested, or one subfolder a class.

Knows the file system as hostile as it is: loops, links that lead elsewhere, folders that nobody
may read, names that are no text. Knows no table and no address.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ml_backend.errors import ConfigurationError
from ml_backend.sources.item import Problems, SourceItem
from ml_backend.sources.layout import IMAGE_SUFFIXES, Labels, is_image, is_text, layout_of


def open_folder(path: Path, labels: Labels = "auto", follow_outside: bool = False) -> FolderSource:
    """Open a folder of image files.

    `labels`: "folders" takes the first level of subfolders for classes (below train/, val/, test/
    where those are all there is), "none" takes no labels, "auto" looks. Links that lead out of the
    folder are followed with `follow_outside` alone. Raises ConfigurationError.
    """
    root = path.expanduser()
    if not root.exists():
        raise ConfigurationError(f"path {str(path)!r}: there is no such folder")
    if not root.is_dir():
        raise ConfigurationError(
            f"path {str(path)!r} is a file, expected a folder of images; a table of paths is read "
            "by the kind csv"
        )
    return FolderSource(root.resolve(), labels, follow_outside)


class FolderSource:
    """The image files below a folder, in order of their paths. Hidden files are left out."""

    def __init__(self, root: Path, labels: Labels, follow_outside: bool) -> None:
        self.root = root
        self.problems = Problems()
        self._follow_outside = follow_outside
        tops, at_root = self._tops()
        if not tops and not at_root:
            raise ConfigurationError(
                f"path {str(root)!r}: no image in it; looked for files ending in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}{self._unread()}"
            )
        self._layout = layout_of(tops, at_root, labels)

    def items(self) -> Iterator[SourceItem]:
        """Stream the images: one folder's names are in memory at a time."""
        self.problems.clear()
        for parts, path in self._walk(self.root, ()):
            label, split = self._layout.place(parts)
            yield SourceItem("/".join(parts), path=path, label=label, split=split)

    def count(self) -> int | None:
        """Count the images by one walk."""
        return sum(1 for _ in self._walk(self.root, (), quiet=True))

    def describe(self) -> str:
        """Say what was taken for what."""
        return f"images in {self.root}, {self._layout.describe()}"

    def _tops(self) -> tuple[dict[str, list[str]], bool]:
        """Return the subfolders that hold images with their own subfolders, and if some are loose.

        Looks into each folder as far as its first image.
        """
        tops: dict[str, list[str]] = {}
        at_root = False
        around = (str(self.root),)
        for entry in self._entries(self.root, ()):
            if self._problem(entry, around) is not None:
                continue
            if self._is_dir(entry):
                folder, parts = Path(entry.path), (entry.name,)
                if next(self._walk(folder, parts, quiet=True), None) is not None:
                    inner = self._entries(folder, parts, quiet=True)
                    tops[entry.name] = [each.name for each in inner if self._is_dir(each)]
            else:
                at_root |= is_image(entry.name)
        return tops, at_root

    def _walk(
        self, folder: Path, parts: tuple[str, ...], quiet: bool = False
    ) -> Iterator[tuple[tuple[str, ...], Path]]:
        """Go through a folder in order of names, by a stack: paths can be deeper than Python's."""
        around: tuple[str, ...] = (os.path.realpath(folder),)
        stack = [(parts, around, iter(self._entries(folder, parts, quiet)))]
        while stack:
            parts, around, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                continue
            inner = (*parts, entry.name)
            problem = self._problem(entry, around)
            if problem is not None:
                self._note(ascii("/".join(inner))[1:-1], problem, quiet)
            elif self._is_dir(entry):
                # Only links need resolving, and each level's resolving would cost its depth.
                real = f"{around[-1]}/{entry.name}"
                real = os.path.realpath(entry.path) if entry.is_symlink() else real
                names = iter(self._entries(Path(entry.path), inner, quiet))
                stack.append((inner, (*around, real), names))
            elif is_image(entry.name):
                yield inner, Path(entry.path)

    def _problem(self, entry: os.DirEntry[str], around: tuple[str, ...]) -> str | None:
        if not is_text(entry.name):
            return "a name that is no text"
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target in around:
                return "a link that leads back to a folder around it"
            if not self._follow_outside and not Path(target).is_relative_to(self.root):
                return "a link that leads out of the folder (follow_outside allows it)"
        return None

    def _entries(
        self, folder: Path, parts: tuple[str, ...], quiet: bool = False
    ) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            self._note("/".join(parts) or str(folder), f"cannot be read: {error.strerror}", quiet)
            return []
        return sorted(visible, key=lambda entry: entry.name)

    def _is_dir(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link to itself
            return False

    def _note(self, where: str, reason: str, quiet: bool) -> None:
        if not quiet:
            self.problems.note(where, reason)

    def _unread(self) -> str:
        return "".join(f"; {where} {reason}" for where, reason in self.problems.listed[:3])
