from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

from yolo_attn.errors import UserError
from yolo_attn.system.failures import is_disk_full
from yolo_attn.system.files import (
    as_json,
    link_or_copy,
    make_folder,
    read_json,
    repeated_keys,
    shortened,
    write_atomically,
)
from yolo_attn.system.locks import FolderLock


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def killed(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "cannot"),
    ],
)
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_disk_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str, call: str
) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(UserError, match=message) as caught:
        write_atomically(path, "new")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_inside_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="project="):
        make_folder(tmp_path / "file" / "folder")


@pytest.mark.parametrize("content", ["{", "", "[1]", "\xff"])
def test_damaged_json_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="damaged"):
        read_json(path)


def test_a_full_disk_is_recognized_as_the_cause_of_another_error() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as error:
            raise RuntimeError("saving failed") from error
    except RuntimeError as error:
        assert is_disk_full(error)
    assert not is_disk_full(RuntimeError("other"))
    assert not is_disk_full(FileNotFoundError(errno.ENOENT, "none"))


def test_a_name_that_is_not_utf8_can_be_written_and_read_again(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_atomically(tmp_path / "found.json", as_json({"image": name}))
    assert read_json(tmp_path / "found.json") == {"image": name}


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()}"), FolderLock(tmp_path):
        pass
    with FolderLock(tmp_path):  # released
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    ready, signal_ready = os.pipe()
    child = os.fork()
    if child == 0:
        FolderLock(tmp_path).__enter__()
        os.write(signal_ready, b"1")
        signal.pause()
    os.read(ready, 1)
    lock = FolderLock(tmp_path)
    assert not lock.acquire()
    assert lock.owner() == str(child)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert lock.acquire(timeout=5)
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_released_lock_is_free_despite_forks(tmp_path: Path) -> None:
    """Data loaders fork their workers while the dataset is locked and keep them running."""
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        lock.release()
        assert FolderLock(tmp_path).acquire()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_locks_of_two_names_are_two_locks(tmp_path: Path) -> None:
    with FolderLock(tmp_path), FolderLock(tmp_path, ".other.lock"):
        assert not FolderLock(tmp_path, ".other.lock").acquire()


@pytest.mark.parametrize("linked", [True, False])
def test_a_file_gets_a_second_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool) -> None:
    source, path = tmp_path / "a.bin", tmp_path / "new" / "b.bin"
    source.write_bytes(b"content")
    if not linked:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):  # the second time it exists
        link_or_copy(source, path)
        assert path.read_bytes() == b"content"
        assert path.samefile(source) == linked
        assert [item.name for item in path.parent.iterdir()] == ["b.bin"]
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "missing", path)
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("name", ["a" * 300, "模型" * 60, "é-" * 90])
def test_a_long_name_is_cut_to_what_file_systems_allow(name: str, tmp_path: Path) -> None:
    short = shortened(name)
    assert len(short.encode()) <= 100
    assert shortened(f"{name}b") != short
    write_atomically(tmp_path / f"{short}.yaml", "")
    assert shortened(name[:30]) == name[:30]


def test_repeated_keys_are_found_at_all_levels() -> None:
    text = "nc: 1\nscales:\n  n: [1]\n  s: [2]\n  n: [3]\nhead:\n  - [-1, 1, SE, [{a: 1, a: 2}]]\nnc: 2\n"
    assert repeated_keys(text) == [("nc", [1, 8]), ("scales: n", [3, 5]), ("head: a", [7, 7])]
    assert repeated_keys("a: &a {b: 1}\nc: *a\n") == repeated_keys("[a, a]") == repeated_keys("") == []
    bomb = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))])
    assert repeated_keys(bomb) == []
