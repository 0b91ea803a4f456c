"""The file with which an environment registers the attention layers in every program that imports Ultralytics.

`site` runs the lines of `.pth` files in site-packages that begin with `import`, each time Python starts. The file has
the sources of `import_hook.py` and `registering_loader.py` in such a line. It does not depend on this package, because
pip does not remove it with the package.
"""

from __future__ import annotations

import inspect
import re
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.host import import_hook, registering_loader
from yolo_attn.system.files import make_folder, write_atomically
from yolo_attn.version import __version__

__all__ = [
    "Startup",
    "StartupFile",
    "disable",
    "enable",
    "examine",
    "own_folder",
    "site_folders",
    "startup_files",
    "startup_text",
]

_MARK = re.compile(r"# yolo-attn (\S+) registers ")
_INSTALL = "install it there with pip"
_FIND_PACKAGE = """\
import importlib.util, sys
spec = importlib.util.find_spec("yolo_attn")
sys.exit(spec is None or spec.origin is None)  # pip may leave a folder without code
"""


@dataclass(frozen=True)
class StartupFile:
    """A file with the name of the start-up file.

    Args:
        path: The file.
        text: Its content.
    """

    path: Path
    text: str

    @property
    def version(self) -> str | None:
        """The version of yolo-attn that wrote it; None for a file that yolo-attn did not write."""
        found = _MARK.match(self.text)
        return found[1] if found else None

    @property
    def is_current(self) -> bool:
        """Whether its code is that of this version."""
        return self.text.partition("\n")[2] == startup_text().partition("\n")[2]

    @property
    def is_of_user(self) -> bool:
        """Whether it is in the user's site-packages, which several environments read."""
        return _is_user_folder(self.path.parent)


@dataclass(frozen=True)
class Startup:
    """Whether programs that import Ultralytics have the attention layers.

    Args:
        file: The start-up file that registers them; None if there is none.
        problems: What is wrong, each with its fix.
    """

    file: StartupFile | None
    problems: list[str]

    def __str__(self) -> str:
        if self.file is None:
            return "has the attention layers after import yolo_attn (everywhere: yolo-attn enable-yolo)"
        return f"has the attention layers ({self.file.path})"


def site_folders() -> list[Path]:
    """Return the folders whose `.pth` files this interpreter reads when it starts, in this order."""
    own = site.getsitepackages([sys.prefix]) if sys.prefix != sys.base_prefix else []
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return list(dict.fromkeys(Path(folder).resolve() for folder in (*own, *user, *site.getsitepackages())))


def own_folder(*, user: bool = False) -> Path:
    """Return the folder of this environment's start-up file.

    Args:
        user: Whether to choose the user's site-packages. It is also chosen if this package is installed there.

    Raises:
        UserError: Python does not read `.pth` files there.
    """
    if user and not site.ENABLE_USER_SITE:
        raise UserError("user=True: this Python ignores the user's site-packages, as in most virtual environments")
    user = user or _is_user_install()
    folder = Path(site.getusersitepackages() if user else sysconfig.get_path("purelib")).resolve()
    if folder not in site_folders():
        raise UserError(f"{folder}: Python reads no .pth files there; use a virtual environment: python -m venv DIR")
    return folder


def _is_user_install() -> bool:
    """Return whether this package is installed in the user's site-packages (`pip install --user`)."""
    try:
        return _is_user_folder(Path(str(distribution("yolo-attn").locate_file(""))))
    except PackageNotFoundError:  # a source checkout in the path
        return False


def _is_user_folder(folder: Path) -> bool:
    """Return whether a folder is the user's site-packages, and this interpreter reads it."""
    return bool(site.ENABLE_USER_SITE) and folder.resolve() == Path(site.getusersitepackages()).resolve()


def enable(*, user: bool = False) -> tuple[StartupFile, StartupFile | None]:
    """Write this environment's start-up file, and return it and the one that was there.

    Args:
        user: Whether to write it for this user, to all environments that read the user's site-packages.

    Raises:
        UserError: It cannot be written, a file of another program has its name, or other programs would not find this
            package.
    """
    path = own_folder(user=user) / import_hook.NAME
    before = _read(path)
    if before is not None:
        _check_written(before)
    if not _is_installed():
        raise UserError(f"yolo-attn is not installed in {sys.prefix}, so yolo would not find it; {_INSTALL}")
    if before is None or not before.is_current:
        has_other = site.ENABLE_USER_SITE and not user
        writable = "user=True" if has_other else "an environment of your own (python -m venv DIR)"
        make_folder(path.parent, writable)
        write_atomically(path, startup_text(), writable)
    return StartupFile(path, startup_text()), before


def disable(*, user: bool = False) -> StartupFile | None:
    """Remove this environment's start-up file, and return it; None if there is none.

    Args:
        user: Whether to remove the one that `enable` wrote for this user.

    Raises:
        UserError: It cannot be removed, or a file of another program has its name.
    """
    file = _read(own_folder(user=user) / import_hook.NAME)
    if file is not None:
        _check_written(file)
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            reason = f"{file.path}: cannot be removed ({error.strerror or error})"
            raise UserError(f"{reason}; run the command as the user who enabled it") from error
    return file


def startup_files() -> list[StartupFile]:
    """Return the start-up files that this interpreter reads, its environment's first."""
    files = (_read(folder / import_hook.NAME) for folder in site_folders())
    return [file for file in files if file is not None]


def examine() -> Startup:
    """Return whether programs of this environment have the attention layers, and what is wrong."""
    files = startup_files()
    written = [file for file in files if file.version is not None]
    problems = [_not_written(file) for file in files if file.version is None]
    if not written:
        return Startup(None, problems)
    first = written[0]  # further ones have no effect
    if not first.is_current:
        command = f"yolo-attn enable-yolo{' user=True' * first.is_of_user}"
        problems.append(f"{first.path}: outdated, of yolo-attn {first.version}; replace it: {command}")
    if not _is_installed():
        problems.append(f"{first.path}: has no effect, because yolo-attn is not installed in {sys.prefix}; {_INSTALL}")
    return Startup(first, problems)


def startup_text() -> str:
    """Return the content of a start-up file."""
    about = "the attention layers where ultralytics is imported (yolo-attn disable-yolo removes this file)"
    source = f"{inspect.getsource(import_hook)}\ninstall(code)\n"
    code = inspect.getsource(registering_loader)
    line = f"import sys; exec({source!a}, {{'__name__': 'yolo_attn_startup', 'code': {code!a}}})"
    return f"# yolo-attn {__version__} registers {about}\n{line}\n"


def _read(path: Path) -> StartupFile | None:
    """Return the file at a path, None without one."""
    try:
        return StartupFile(path, path.read_bytes().decode("utf-8", "replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # a folder, or not readable: nothing that yolo-attn wrote
        return StartupFile(path, "")


def _check_written(file: StartupFile) -> None:
    """Raise UserError for a file that yolo-attn did not write."""
    if file.version is None:
        raise UserError(_not_written(file))


def _not_written(file: StartupFile) -> str:
    return f"{file.path}: not written by yolo-attn, and kept; rename or remove it"


def _is_installed() -> bool:
    """Return whether Python finds this package in any working folder."""
    command = [sys.executable, "-c", _FIND_PACKAGE]
    return subprocess.run(command, capture_output=True, cwd=sys.prefix, check=False).returncode == 0
