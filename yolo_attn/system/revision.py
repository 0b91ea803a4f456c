"""The Git revision of a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["git_revision"]

_COMMAND = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
_SECONDS = 10  # a repository on a slow network file system is not worth more


def git_revision(folder: Path) -> str | None:
    """Return the commit of the Git repository that contains a folder, with "-dirty" if tracked files differ from it.

    Returns:
        The hash; None outside a repository, before its first commit, and without Git.
    """
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # a commit at the same moment must not fail
    try:
        done = subprocess.run(
            _COMMAND, cwd=folder, env=quiet, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
