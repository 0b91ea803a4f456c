"""The Git revision of a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from yolo_attn.system.revision import git_revision

AUTHOR = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    git(folder, "init", "-q")
    return folder


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *AUTHOR, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_and_whether_files_differ_from_it(repository: Path) -> None:
    assert git_revision(repository) is None  # no commit yet
    (repository / "train.py").write_text("1\n")
    git(repository, "add", "train.py")
    git(repository, "commit", "-q", "-m", "a")
    git(repository, "tag", "-a", "v1", "-m", "v1")
    head = git(repository, "rev-parse", "HEAD")
    assert git_revision(repository) == git_revision(repository / "inner") == head
    (repository / "results.txt").write_text("untracked\n")
    assert git_revision(repository) == head
    (repository / "train.py").write_text("2\n")
    assert git_revision(repository) == f"{head}-dirty"


def test_no_repository_and_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_revision(repository.parent) is None
    assert git_revision(repository / "missing") is None
    monkeypatch.setenv("PATH", "")
    assert git_revision(repository) is None
