"""The Git revision of a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from yolo_attn.system.revision import git_revision

AUTHOR = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    git(folder, "init", "-q")
    return folder


@pytest.fixture
def commit(repository: Path) -> str:
    """The hash of the only commit."""
    (repository / "train.py").write_text("1\n")
    git(repository, "add", "train.py")
    git(repository, "commit", "-q", "-m", "a")
    return git(repository, "rev-parse", "HEAD")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *AUTHOR, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_before_the_first_commit(repository: Path) -> None:
    assert git_revision(repository) is None


def test_the_commit_of_a_branch(repository: Path, commit: str) -> None:
    git(repository, "tag", "-a", "v1", "-m", "v1")
    assert git_revision(repository) == git_revision(repository / "inner") == commit
    git(repository, "switch", "-q", "-c", "user/topic")
    git(repository, "commit", "-q", "--allow-empty", "-m", "b")
    assert git_revision(repository) == git(repository, "rev-parse", "HEAD") != commit


def test_packed_references(repository: Path, commit: str) -> None:
    git(repository, "tag", "-a", "v1", "-m", "v1")
    git(repository, "pack-refs", "--all")
    assert not any((repository / ".git" / "refs" / "heads").iterdir())
    assert git_revision(repository) == commit
    git(repository, "commit", "-q", "--allow-empty", "-m", "b")  # a file again, which is newer than the packed one
    assert git_revision(repository) == git(repository, "rev-parse", "HEAD") != commit


def test_a_commit_without_a_branch_and_a_branch_that_names_another(repository: Path, commit: str) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "b")
    second = git(repository, "rev-parse", "HEAD")
    branch = git(repository, "symbolic-ref", "HEAD")
    git(repository, "symbolic-ref", "refs/heads/alias", branch)
    git(repository, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert git_revision(repository) == second
    git(repository, "checkout", "-q", "--detach", commit)
    assert git_revision(repository) == commit


def test_a_worktree_and_a_submodule(repository: Path, commit: str) -> None:
    worktree = repository.parent / "worktree"
    git(repository, "worktree", "add", "-q", "-b", "other", str(worktree))
    git(worktree, "commit", "-q", "--allow-empty", "-m", "b")
    assert git_revision(worktree) == git(worktree, "rev-parse", "HEAD") != commit
    git(repository, "pack-refs", "--all")
    assert git_revision(worktree) == git(worktree, "rev-parse", "HEAD")
    assert git_revision(repository) == commit
    outer = repository.parent / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "part")
    assert git_revision(outer / "part") == commit
    assert git_revision(outer) is None


@pytest.mark.parametrize(
    "head",
    ["", "ref: refs/heads/missing", "ref: refs/../../../secret", "ref: /etc/passwd", "ref: refs/heads/a", "secret"],
)
def test_something_else_in_a_repository(repository: Path, commit: str, head: str) -> None:
    (repository.parent / "secret").write_text(commit)
    (repository / ".git" / "refs" / "heads" / "a").write_text("ref: refs/heads/a")  # names itself
    (repository / ".git" / "HEAD").write_text(head)
    assert git_revision(repository) is None


@pytest.mark.parametrize("content", [b"", b"gitdir: missing", b"gitdir: \xff", b"gitdir: \0", b"anything"])
def test_a_file_that_names_no_repository(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".git").write_bytes(content)
    assert git_revision(tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
def test_a_file_without_an_end_is_not_read(repository: Path, commit: str) -> None:
    (repository / ".git" / "HEAD").unlink()
    os.mkfifo(repository / ".git" / "HEAD")
    assert git_revision(repository) is None


@pytest.mark.skipif(os.name != "posix", reason="the programs are scripts of a shell")
def test_no_program_of_the_repository_runs(repository: Path, commit: str) -> None:
    """A received folder has a configuration with programs of its author."""
    ran = repository.parent / "ran"
    program = repository.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    program.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(program))
    git(repository, "config", "filter.all.clean", str(program))
    (repository / ".gitattributes").write_text("* filter=all\n")
    (repository / "train.py").write_text("2\n")
    assert git_revision(repository) == commit
    assert not ran.exists()
    git(repository, "describe", "--always", "--dirty")
    assert ran.exists()  # Git would have run them


def test_no_repository_and_no_git(repository: Path, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = repository / "missing"
    assert git_revision(missing) == commit  # of the repository that would contain it
    monkeypatch.setenv("PATH", "")
    assert git_revision(repository) == commit
