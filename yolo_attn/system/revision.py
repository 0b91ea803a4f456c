"""The Git revision of a folder.

It is read from the files of the repository. `git` itself runs programs that the repository's configuration names, such
as filters and monitors of the file system, and the folder may be from someone else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["git_revision"]

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # SHA-1 or SHA-256
_REFERENCE = re.compile(r"ref: (refs/\S+)")
_DEPTH = 5  # of references to references, as in Git


def git_revision(folder: Path) -> str | None:
    """Return the commit that is checked out in the Git repository that contains a folder.

    Returns:
        The hash; None outside a repository, before its first commit, and where the commit is not found.
    """
    try:
        start = folder.resolve()
        entry = next((path / ".git" for path in (start, *start.parents) if (path / ".git").exists()), None)
        return None if entry is None else _head(_git_folder(entry))
    except (OSError, ValueError):  # ValueError: no text, or no path
        return None


def _git_folder(entry: Path) -> Path:
    """Return the folder of a repository's files; in worktrees and submodules `.git` is a file that names it."""
    return entry if entry.is_dir() else entry.parent / _text(entry).removeprefix("gitdir: ")


def _head(git: Path) -> str | None:
    """Return the commit that HEAD names, directly or by references."""
    common = git / _text(git / "commondir")  # the branches of a worktree are in the folder of its repository
    value = _text(git / "HEAD")
    for _ in range(_DEPTH):
        if not (reference := _REFERENCE.fullmatch(value)) or ".." in reference[1]:
            break
        value = next(filter(None, _values(reference[1], git, common)), "")
    return value if _COMMIT.fullmatch(value) else None


def _values(reference: str, git: Path, common: Path) -> Iterator[str]:
    """Yield the value of a reference in every place where it may be, "" where it is not."""
    yield _text(git / reference)
    yield _text(common / reference)
    packed = (line.partition(" ") for line in _text(common / "packed-refs").splitlines())
    yield next((commit for commit, _, name in packed if name == reference), "")


def _text(file: Path) -> str:
    """Return the text of a file; "" if there is none, or something that may be read without end."""
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""
