"""The files of folders that are to be indexed, and what is left out, with the reason."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rerankd.errors import InvalidInputFileError


@dataclass(slots=True)
class FoundFiles:
    """The files of some roots.

    Attributes:
        paths: files to read, sorted within each root.
        unsupported: files of types that are not supported.
        skipped: files, folders and links that cannot or may not be read, each with the reason.
        refused: links that lead out of their folder and are not followed; `skipped` has them too.
        links: links out of their folder that are followed, each with its target.
        hidden: number of hidden files and folders, which are left out.
    """

    paths: list[Path] = field(default_factory=list)
    unsupported: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)
    links: list[tuple[Path, str]] = field(default_factory=list)
    hidden: int = 0


def find_files(roots: Sequence[Path], suffixes: Collection[str], *, follow_links: bool = False) -> FoundFiles:
    """Find the files below roots. A root that is a file is read whatever its suffix; a root may be a symbolic link.

    Hidden files and folders are left out. A symbolic link is followed if it stays within its root.

    Args:
        roots: files and folders.
        suffixes: suffixes of the supported types, in lower case.
        follow_links: True to follow symbolic links out of their root.

    Raises:
        InvalidInputFileError: a root does not exist, or is neither a file nor a folder.
    """
    found = FoundFiles()
    for root in roots:
        if root.is_file():
            found.paths.append(root)
        elif root.is_dir():
            _Walk(root, suffixes, follow_links, found).run()
        elif root.exists():
            raise InvalidInputFileError(
                f"{printable(root)} is neither a file nor a folder.", hint="Pass an existing file or folder."
            )
        else:
            raise InvalidInputFileError(f"{printable(root)} does not exist.", hint="Pass an existing file or folder.")
    found.paths = list(dict.fromkeys(found.paths))
    return found


def printable(path: Path | str) -> str:
    r"""Return a path as text that can be printed: bytes that are not UTF-8 become escapes.

    Example:
        >>> printable("caf\udce9.txt")
        'caf\\xe9.txt'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Walk:
    """One pass over a folder and those below it."""

    def __init__(self, root: Path, suffixes: Collection[str], follow_links: bool, found: FoundFiles) -> None:
        self._root, self._suffixes, self._follow, self._found = root, suffixes, follow_links, found
        self._real_root = os.path.realpath(root)
        self._visited = {self._real_root}
        self._folders = [root]
        self._paths: list[Path] = []

    def run(self) -> None:
        while self._folders:
            folder = self._folders.pop()
            try:
                with os.scandir(folder) as entries:
                    names = sorted((entry.name, entry.is_symlink()) for entry in entries)
            except OSError as error:
                self._found.skipped.append((folder, f"The folder cannot be read ({error.strerror or error})."))
                continue
            for name, is_link in names:
                if name.startswith("."):
                    self._found.hidden += 1
                elif not is_link or self._may_follow(folder / name):
                    self._take(folder / name, is_link)
        self._found.paths += sorted(self._paths)

    def _take(self, path: Path, is_link: bool) -> None:
        """Take in a file, or a folder to look into; a folder is looked into once, whatever leads to it."""
        if os.path.isdir(path):
            real = os.path.realpath(path) if is_link or self._follow else ""
            if real not in self._visited:
                self._visited |= {real} - {""}
                self._folders.append(path)
        elif not os.path.isfile(path):
            self._found.skipped.append((path, "It is neither a file nor a folder, or cannot be accessed."))
        elif path.suffix.lower() in self._suffixes:
            self._paths.append(path)
        else:
            self._found.unsupported.append(path)

    def _may_follow(self, link: Path) -> bool:
        target = os.path.realpath(link)
        if not os.path.exists(target):
            self._found.skipped.append((link, f"It is a symbolic link to {printable(target)}, which does not exist."))
            return False
        inside = os.path.relpath(target, self._real_root)
        if inside.split(os.sep)[0] == os.pardir or os.path.isabs(inside):
            return self._may_leave(link, target)
        # A folder within the root is read where it stands, unless that is hidden, as with mounted Kubernetes volumes.
        return os.path.isfile(target) or any(part.startswith(".") for part in inside.split(os.sep) if part != ".")

    def _may_leave(self, link: Path, target: str) -> bool:
        if self._follow:
            self._found.links.append((link, printable(target)))
            return True
        reason = f"It is a symbolic link out of the folder, to {printable(target)}. Follow it with --follow-links."
        self._found.skipped.append((link, reason))
        self._found.refused.append(link)
        return False
