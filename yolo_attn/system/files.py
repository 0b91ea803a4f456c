"""Reading of text, YAML and JSON with errors that name the file and line, and atomic writing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from yolo_attn.errors import UserError, plain
from yolo_attn.system.failures import disk_error

__all__ = [
    "EXPONENT",
    "YAML_SUFFIXES",
    "as_json",
    "as_yaml",
    "check_inside",
    "compose_yaml",
    "expand_home",
    "file_hash",
    "is_file",
    "is_folder",
    "link_or_copy",
    "make_folder",
    "parse_yaml",
    "plain_value",
    "read_json",
    "read_text",
    "read_yaml",
    "repeated_keys",
    "shortened",
    "stored_fields",
    "without_yaml",
    "write_atomically",
    "write_new",
]

EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""Numbers such as 1e-4, which YAML 1.1 reads as text (it requires 1.0e-4)."""

YAML_SUFFIXES = (".yaml", ".yml")
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times as fast, where PyYAML is built with it
_TEMPORARY = ".tmp"
_OPEN_SECONDS = 3.0  # in which other programs close a file
_BLOCK = 1 << 20  # bytes that a hash reads at a time
_MOST_JSON = 256 * 2**20  # bytes


def expand_home(path: str | Path) -> Path:
    """Return a path with ~ replaced by the home folder; a name such as ~backup.png, which is no user's, is kept."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises for such a name)


def without_yaml(name: str) -> str:
    """Return the name of a YAML file without its folder and suffix, such as VOC for VOC.yaml, and others unchanged."""
    path = Path(name)
    return path.stem if path.suffix.lower() in YAML_SUFFIXES else name


def is_file(path: str | Path) -> bool:
    """Return True for an existing file, False for names that no file can have, such as too long ones."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises for such a name)


def is_folder(path: str | Path) -> bool:
    """Return True for an existing folder, False for names that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def shortened(name: str, most: int = 100) -> str:
    """Return a file name with the end of a long one replaced by its hash, because file systems allow 255 bytes.

    Args:
        name: The name.
        most: Largest number of bytes.
    """
    content = name.encode("utf-8", "surrogateescape")
    if len(content) <= most:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    kept = content[: most - 9].decode("utf-8", "ignore")  # without a character that is cut
    return f"{kept.rstrip('-.')}-{digest}"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, computed once per process while the file does not change."""
    state = path.stat()
    return _hash(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=4096)
def _hash(path: Path, *state: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def make_folder(path: Path, key: str = "project=FOLDER") -> None:
    """Make a folder and its parents unless it exists.

    Args:
        path: The folder.
        key: The option that sets another folder, for the error message.

    Raises:
        UserError: The folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, path, key) from error


def write_atomically(path: Path, content: str | bytes, key: str = "project=FOLDER") -> None:
    """Write a file such that other processes see either the old or the new content, even after a crash.

    Args:
        path: The file; its folder exists.
        content: The complete content; text is encoded as UTF-8.
        key: The option that sets another path, for the error message.

    Raises:
        UserError: The disk is full or not writable; the old content is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as stream:
            # A file name that is not UTF-8 has characters without an encoding, which JSON can express as escapes.
            stream.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        _replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path, key) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Give a file the name of another one; on Windows wait until no program has that one open."""
    deadline = time.monotonic() + (_OPEN_SECONDS if sys.platform == "win32" else 0.0)
    while True:
        try:
            os.replace(temporary, path)  # noqa: PTH105 (tests replace this name)
            return
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def check_inside(folder: Path, root: Path) -> None:
    """Check that no link in a folder, or on the way to it, leads out of another folder: it may come from someone else.

    Args:
        folder: The folder, which need not exist.
        root: The folder that it is in.

    Raises:
        UserError: A link leads out of it.
    """
    real = root.resolve()
    links = (Path(found, name) for found, *names in os.walk(folder) for name in chain(*names))
    for path in (folder, *filter(Path.is_symlink, links)):
        try:
            inside = path.resolve().is_relative_to(real)
        except (OSError, RuntimeError):  # circular links
            inside = False
        if not inside:
            raise UserError(f"{path}: a link that leads out of {root}; nothing was written")


def link_or_copy(source: Path, path: Path) -> None:
    """Give a file a second path, as a hard link or, where the file system has none, as a copy.

    Other processes see either no file or the whole one. Only for files that are replaced and never changed in place.

    Args:
        source: The file.
        path: The second path, which is replaced if it exists; folders are made.

    Raises:
        OSError: The file does not exist, or the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
        os.replace(temporary, path)  # noqa: PTH105 (as above)
    finally:
        temporary.unlink(missing_ok=True)  # also when both paths are already one file, where replacing has no effect


def write_new(path: Path, text: str, *, exist_ok: bool) -> None:
    """Write a new text file.

    Args:
        path: The file.
        text: The complete content.
        exist_ok: Whether an existing file may be replaced.

    Raises:
        UserError: The file exists and may not be replaced, or it cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; give a file with out=FILE, such as out={path / 'mine.yaml'}")
    if path.exists() and not exist_ok:
        raise UserError(f"{path} exists and was kept; give another out=FILE, or exist_ok=True to replace it")
    make_folder(path.parent, "out=FILE")
    write_atomically(path, text, "out=FILE")


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power failure if the system supports it."""
    if sys.platform == "win32":  # folders cannot be opened
        return
    with contextlib.suppress(OSError):  # some network file systems refuse; the rename itself is done
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_text(path: str | Path, *, lenient: bool = False) -> str:
    """Read a text file.

    Args:
        path: The file.
        lenient: Whether to drop unprintable characters and bytes that are not UTF-8, as Ultralytics does. A file with
            zero bytes is still rejected.

    Raises:
        UserError: The file is missing or is not text.
    """
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-8-sig", errors="ignore" if lenient and b"\0" not in content else "strict")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file (UTF-8)") from error
    return yaml.reader.Reader.NON_PRINTABLE.sub("", text) if lenient else text


def read_yaml(path: str | Path, *, lenient: bool = False) -> Any:
    """Read a YAML file safely.

    Args:
        path: The file.
        lenient: As in `read_text`.

    Raises:
        UserError: The file is missing, not text or not YAML.
    """
    return parse_yaml(read_text(path, lenient=lenient), path)


def parse_yaml(text: str, source: str | Path) -> Any:
    """Parse YAML text safely.

    Args:
        text: The text.
        source: Its origin, for the error message.

    Raises:
        UserError: The text is not YAML; the message names line and column.
    """
    with contextlib.suppress(yaml.YAMLError, ValueError):  # which the other parser explains in its own words
        return yaml.load(text, Loader=_FAST_LOADER)  # noqa: S506 (a SafeLoader)
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{source}{where}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise UserError(f"{source}: not valid YAML: {plain(str(error))}") from error
    except RecursionError as error:
        raise UserError(f"{source}: not valid YAML: lists or mappings are nested too deeply") from error


def compose_yaml(text: str) -> yaml.Node | None:
    """Return the nodes of YAML text that `parse_yaml` can parse; their lines are right, their columns need not be."""
    return yaml.compose(text, Loader=_FAST_LOADER)


def repeated_keys(text: str) -> list[tuple[str, list[int]]]:
    """Return the keys that a mapping in YAML text has several times, each with its lines; only the last one counts.

    A nested key has the names of all levels: the second `n` of the scales is "scales: n".

    Args:
        text: Text that `parse_yaml` can parse.
    """
    found: list[tuple[str, list[int]]] = []
    root = compose_yaml(text)
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        name, node = waiting.pop(0)
        lines: dict[str, list[int]] = {}
        parts = [("", part) for part in node.value] if isinstance(node, yaml.SequenceNode) else []
        for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
            lines.setdefault(str(key.value), []).append(key.start_mark.line + 1)
            parts.append((str(key.value), value))
        found += [(_nested(name, key), where) for key, where in lines.items() if len(where) > 1]
        for key, part in parts:
            if id(part) not in seen:  # an alias is the node of its anchor
                seen.add(id(part))
                waiting.append((_nested(name, key), part))
    return found


def _nested(name: str, key: str) -> str:
    return ": ".join(filter(None, (name, key)))


def as_yaml(value: Any) -> str:
    """Return a value as one line of YAML (true, null, [3, 5]), or its `repr` if YAML cannot represent it."""
    try:
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    except yaml.YAMLError:
        return repr(value)
    return text.removesuffix("\n").removesuffix("\n...")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that this package wrote.

    Raises:
        UserError: The file is damaged or does not contain a mapping.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > _MOST_JSON:  # reading a pipe would block
            raise OSError(errno.EINVAL, "not a JSON file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UserError(f"{path}: damaged ({reason}); restore it, or delete its folder to start over") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged (no mapping); restore it, or delete its folder to start over")
    return content


def as_json(data: Mapping[str, Any]) -> str:
    """Return data as JSON text; numbers that are not finite become null."""
    return json.dumps(plain_value(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def plain_value(value: object) -> object:
    """Return dataclasses, mappings and sequences as plain values; a number that is not finite becomes None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return stored_fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    return value


def stored_fields(record: object) -> dict[str, object]:
    """Return the fields of a dataclass as plain values, except those with the metadata `stored=False`."""
    names = [item.name for item in fields(record) if item.metadata.get("stored", True)]  # type: ignore[arg-type]
    return {name: plain_value(getattr(record, name)) for name in names}
