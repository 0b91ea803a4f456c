"""`yolo-attn enable-yolo` and `disable-yolo`, and their state in `doctor`; the real site-packages are unchanged."""

from __future__ import annotations

import errno
import os
import site
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import refuse, run
from yolo_attn.cli import doctor
from yolo_attn.host import startup_file
from yolo_attn.host.import_hook import NAME
from yolo_attn.version import __version__

OLDER = "# yolo-attn 0.0.1 registers the layers\nimport sys\n"


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """The Python of an environment without packages."""
    venv.create(tmp_path / "bare", symlinks=os.name != "nt")
    return tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The site-packages of a virtual environment, of the user and of the system, in which `site` looks for files."""
    folders = {name: tmp_path / name for name in ("own", "user", "outer")}
    for name in ("own", "outer"):
        folders[name].mkdir()
    monkeypatch.setattr(sys, "base_prefix", "/outer")
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(folders["user"]))
    all_folders = [str(folders["own"]), str(folders["outer"])]
    monkeypatch.setattr(site, "getsitepackages", lambda prefixes=None: all_folders[: 1 if prefixes else 2])
    paths = {"purelib": str(folders["own"])}
    monkeypatch.setattr(sysconfig, "get_path", paths.__getitem__)
    return folders


@pytest.fixture
def own(folders: dict[str, Path]) -> Path:
    """The path of the environment's start-up file."""
    return folders["own"] / NAME


def succeed(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    status, out, err = run(*words, capsys=capsys)
    assert (status, err) == (0, "")
    return out


def state() -> tuple[str, list[str]]:
    """Return what doctor reports."""
    report = doctor.examine()
    return report["stock yolo"], report["problems"]


def test_enable_and_disable(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "yolo-attn enable-yolo" in state()[0]
    out = succeed("enable-yolo", capsys=capsys)
    assert out.startswith("enabled: ")
    assert f"written: {own}\n" in out
    assert own.read_text() == startup_file.startup_text()
    assert [path.name for path in own.parent.iterdir()] == [NAME]
    assert state() == (f"has the attention layers ({own})", [])
    assert succeed("enable-yolo", capsys=capsys) == f"already enabled: {own}\n"
    assert succeed("disable-yolo", capsys=capsys) == f"removed: {own}\n"
    assert not own.exists()
    assert succeed("disable-yolo", capsys=capsys) == f"not enabled: no start-up file in {own.parent}\n"
    assert "yolo-attn enable-yolo" in state()[0]


def test_an_older_file_is_replaced(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own.write_text(OLDER)
    assert state()[1] == [f"{own}: outdated, of yolo-attn 0.0.1; replace it: yolo-attn enable-yolo"]
    assert "the file of yolo-attn 0.0.1 is replaced" in succeed("enable-yolo", capsys=capsys)
    assert own.read_text() == startup_file.startup_text()
    assert state()[1] == []


def test_the_same_code_of_another_version_is_kept(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = startup_file.startup_text().replace(f"yolo-attn {__version__}", "yolo-attn 0.0.1", 1)
    own.write_text(text)
    assert state()[1] == []
    assert "already enabled" in succeed("enable-yolo", capsys=capsys)
    assert own.read_text() == text


@pytest.mark.parametrize("content", [b"import other\n", b"", b"\0\xff"])
def test_a_file_of_another_program_is_kept(own: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    own.write_bytes(content)
    for command in ("enable-yolo", "disable-yolo"):
        assert f"{own}: not written by yolo-attn" in refuse(command, capsys=capsys)
        assert own.read_bytes() == content
    assert state()[1] == [f"{own}: not written by yolo-attn, and kept; rename or remove it"]


def test_a_folder_with_the_name_is_kept(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own.mkdir()
    assert "not written by yolo-attn" in refuse("enable-yolo", capsys=capsys)
    assert own.is_dir()


def test_read_only_site_packages(
    own: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace = os.replace

    def fail(source: Any, target: Any) -> None:
        if Path(target).parent == own.parent:
            raise OSError(errno.EROFS, "Read-only file system")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    assert refuse("enable-yolo", capsys=capsys).endswith("(read-only file system); give a writable one with user=True")
    assert list(own.parent.iterdir()) == []
    succeed("enable-yolo", "user=True", capsys=capsys)  # as the message recommends
    assert (folders["user"] / NAME).exists()
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    assert "python -m venv DIR" in refuse("enable-yolo", capsys=capsys)


def test_a_file_that_cannot_be_removed(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    succeed("enable-yolo", capsys=capsys)

    def fail(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", fail)
    assert f"{own}: cannot be removed (Permission denied)" in refuse("disable-yolo", capsys=capsys)


def test_for_the_user(own: Path, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = folders["user"] / NAME
    assert f"written: {file}" in succeed("enable-yolo", "user=True", capsys=capsys)
    assert state() == (f"has the attention layers ({file})", [])
    shown = succeed("disable-yolo", capsys=capsys)
    assert shown == (
        f"not enabled: no start-up file in {own.parent}\nstill enabled by {file}: yolo-attn disable-yolo user=True\n"
    )
    file.write_text(OLDER)
    assert state()[1][0].endswith("replace it: yolo-attn enable-yolo user=True")
    succeed("enable-yolo", "user=True", capsys=capsys)
    assert succeed("disable-yolo", "user=True", capsys=capsys) == f"removed: {file}\n"


def test_without_the_site_packages_of_the_user(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    assert "user=True: this Python ignores" in refuse("enable-yolo", "user=True", capsys=capsys)


def test_a_package_installed_for_the_user_is_enabled_for_the_user(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def locate_file(self, path: str) -> Path:
            return folders["user"] / path

    monkeypatch.setattr(startup_file, "distribution", lambda name: Installed())
    assert startup_file.own_folder() == folders["user"]


def test_environments_do_not_disturb_each_other(
    own: Path, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of the outer environment is neither replaced nor removed, and the inner one takes precedence."""
    outer = folders["outer"] / NAME
    outer.write_text(OLDER)
    assert state()[0] == f"has the attention layers ({outer})"
    assert state()[1] == [f"{outer}: outdated, of yolo-attn 0.0.1; replace it: yolo-attn enable-yolo"]
    assert f"also enabled by {outer}; the layers are registered once" in succeed("enable-yolo", capsys=capsys)
    assert state() == (f"has the attention layers ({own})", [])
    shown = succeed("disable-yolo", capsys=capsys)
    assert shown == f"removed: {own}\nstill enabled by {outer}: give this command in that environment\n"
    assert outer.read_text() == OLDER


def test_without_the_package_nothing_is_written(
    bare_python: Path, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a source checkout that is not installed and is the working folder."""
    succeed("enable-yolo", capsys=capsys)
    monkeypatch.setattr(sys, "executable", str(bare_python))
    monkeypatch.delenv("PYTHONPATH")
    text = f"yolo-attn is not installed in {sys.prefix}"
    assert state()[1] == [f"{own}: has no effect, because {text}; install it there with pip"]
    own.unlink()
    assert text in refuse("enable-yolo", capsys=capsys)
    assert not own.exists()


def test_a_folder_without_start_up_files(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "elsewhere"))
    assert "Python reads no .pth files there" in refuse("enable-yolo", capsys=capsys)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("command", ["enable-yolo", "disable-yolo"])
@pytest.mark.parametrize("word", ["user=perhaps", "usr=True", "user"])
def test_invalid_words(own: Path, command: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "user" in refuse(command, word, capsys=capsys)
    assert not own.exists()


def test_the_folders_of_this_interpreter_are_those_of_site() -> None:
    folders = startup_file.site_folders()
    assert Path(sysconfig.get_path("purelib")) in folders
    assert set(map(str, folders)) >= {path for path in sys.path if path in site.getsitepackages()}
