"""The store of a study: its folder, with the jobs and results of its runs (file names are in `study/files.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from yolo_attn.errors import UserError
from yolo_attn.study.files import (
    JOB,
    LAST_WEIGHTS,
    LAYERS,
    LOG,
    MATCHES,
    MODEL,
    OUTPUTS,
    RESULT,
    RUNS,
    STORE,
    STUDY,
    TRAINING_STATE,
)
from yolo_attn.study.job import Job, Platform, RunResult, RunSettings, is_own_result, read_key
from yolo_attn.study.running.run import Run
from yolo_attn.study.specification.study import Comparison, Study, StudyFolder
from yolo_attn.system.failures import disk_error
from yolo_attn.system.files import check_inside, link_or_copy, make_folder, read_json, read_yaml, write_atomically
from yolo_attn.system.locks import FolderLock
from yolo_attn.system.processes import ranks_ended

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["SCHEMA", "Neighbor", "Store", "StoredStudy", "choose_folder", "numbered_folder", "read_study", "slug"]

SCHEMA = 2
_KEY_DIGITS = 8


@dataclass(frozen=True)
class StoredStudy:
    """The content of a stored `study.yaml`.

    Args:
        comparison: What is compared.
        layers: Source files of its custom layers.
    """

    comparison: Comparison
    layers: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Neighbor:
    """A finished run of another study.

    Args:
        folder: Its folder.
        own: Whether this user has trained it; only then it is used.
    """

    folder: Path
    own: bool


def choose_folder(study: Study) -> Path:
    """Return the folder of a study: the named one, or one of the default names.

    Of the default names it is the first that contains the same study. With `exist_ok=True` it is the one with a study
    of the same base, dataset and recipe, to which this study is added. Otherwise it is the first free one.

    Raises:
        UserError: The named folder contains something else and `exist_ok=True` is not given, or its study is damaged;
            or this study can be added to several.
    """
    folder = study.folder
    if folder.explicit:
        _check_named(folder, study)
        return folder.path
    similar, number = [], 1
    while not _is_free(path := numbered_folder(folder.path, number)):
        if (path / STUDY).exists():
            stored = read_study(path).comparison
            if study.is_same(stored):
                return path
            if study.is_similar(stored):
                similar.append(path)
        number += 1
    if not folder.exist_ok or not similar:
        return path
    if len(similar) > 1:
        names = " and ".join(item.name for item in similar)
        raise UserError(
            f"exist_ok=True: {names} contain studies of this base, data and recipe; choose one with name=NAME"
        )
    return similar[0]


def numbered_folder(folder: Path, number: int) -> Path:
    """Return the folder of a number: compare, compare2, compare3, ....

    Args:
        folder: The folder of number 1.
        number: The number.
    """
    return folder if number == 1 else folder.with_name(f"{folder.name}{number}")


def _check_named(folder: StudyFolder, study: Study) -> None:
    path = folder.path
    if _is_free(path):
        return
    if not (path / STUDY).exists():
        if folder.exist_ok:
            return
        raise UserError(f"{path}: contains other files, not a study; give another name=NAME")
    stored = read_study(path).comparison
    if not folder.exist_ok and not study.is_same(stored):
        raise UserError(
            f"{path}: contains another study; give another name=NAME, or exist_ok=True to add this one to it"
        )


def _is_free(folder: Path) -> bool:
    """Whether a folder is missing or contains nothing but the remains of an interrupted first write."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        raise UserError(f"{folder}: a file, not a folder; give another name=NAME")
    names = {item.name for item in folder.iterdir() if not item.name.endswith(".tmp")}
    return names <= {".lock", STORE, *([LAYERS] if STORE in names else [])}


def read_study(folder: Path) -> StoredStudy:
    """Read the `study.yaml` in a folder.

    Raises:
        UserError: It is damaged.
    """
    path = folder / STUDY
    try:
        content = read_yaml(path)
    except UserError:
        content = None
    comparison = Comparison.from_content(content)
    if comparison is None or not isinstance(content, dict):
        raise UserError(f"{path}: damaged; restore it, or give another name=NAME (nothing was overwritten)")
    return StoredStudy(comparison, tuple(folder / str(file) for file in content.get(LAYERS) or ()))


class Store:
    """The jobs and results of one study.

    Args:
        folder: From `choose_folder`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[str, Path] = {}
        self._listed: dict[str, list[Path]] | None = None
        self._text_at_planning = self._study_text()

    @property
    def exists(self) -> bool:
        """Whether the folder contained a study when the store was created."""
        return self._text_at_planning is not None

    def _study_text(self) -> str | None:
        path = self.folder / STUDY
        return path.read_text(encoding="utf-8") if path.exists() else None

    def check_free(self) -> None:
        """Raise UserError if another process works in the folder; called before the slow part of planning."""
        if self.folder.exists():
            with FolderLock(self.folder):
                pass

    def platform(self, versions: Mapping[str, str]) -> Platform | None:
        """Return the platform of the stored runs, None for a new store.

        Args:
            versions: The installed package versions.

        Raises:
            UserError: The store is damaged, or has another schema or other package versions.
        """
        path = self.folder / STORE
        if not path.exists():
            return None
        content = read_json(path)
        if content.get("schema") != SCHEMA:
            raise UserError(
                f"{path}: written with store schema {content.get('schema')}, this yolo-attn has {SCHEMA}; "
                "use the yolo-attn that wrote it, or give another name=NAME"
            )
        stored = Platform.from_json(content, str(path))
        for package, written, installed in stored.differences(versions):
            run = f"with {package} {written}, installed is {installed}" if written else f"without {package}"
            fix = f"install {package}=={written}" if written else f"uninstall {package}"
            raise UserError(
                f"{self.folder}: run {run}, and results of two versions must not be mixed; {fix}, or give another "
                "name=NAME"
            )
        return stored

    @contextlib.contextmanager
    def opened(self, study: Study, platform: Platform, sources: Sources | None = None) -> Iterator[None]:
        """Lock the folder and write the study into it.

        Args:
            study: The study.
            platform: Versions, device and threads of its runs.
            sources: Source files of custom layers.

        Raises:
            UserError: Another process has locked the folder or has changed it since planning, or it cannot be written.
        """
        make_folder(self.folder)
        with FolderLock(self.folder):
            if self._study_text() != self._text_at_planning:
                raise UserError(
                    f"{self.folder}: another compare has changed the study in the meantime; run the command again"
                )
            _remove_temporary_files(self.folder)
            # study.yaml comes last: a folder that contains it is complete.
            _write_if_changed(self.folder / STORE, json.dumps(_store_content(platform), indent=2) + "\n")
            content = {**study.to_content(), **_write_sources(sources, self.folder)}
            _write_if_changed(self.folder / STUDY, yaml.safe_dump(content, sort_keys=False))
            yield

    def prepare(self, run: Run, settings: RunSettings) -> Path:
        """Write a run's job into its folder, which is created if no folder has the run's key.

        Args:
            run: The run; the one that trains its base was prepared before.
            settings: Settings that its result does not depend on.

        Raises:
            UserError: The folder cannot be written, or leads out of the study by a link.
        """
        name = f"{slug(run.arm.name)}-s{run.seed}-{run.key[:_KEY_DIGITS]}"
        folder = self._find(run.key) or self.folder / RUNS / name
        check_inside(folder, self.folder)
        make_folder(folder)
        modules = run.sources.modules if run.sources else ()
        if modules:
            _write_sources(run.sources, folder)
        if run.base:
            settings = replace(settings, weights=str(self.weights(run.base).absolute()))
        job = Job(key=run.key, arm=run.arm.name, inputs=run.inputs, modules=modules, **vars(settings))
        _write_if_changed(folder / MODEL, yaml.safe_dump(dict(run.arm.model), sort_keys=False, width=120))
        _write_if_changed(folder / JOB, job.to_text())
        self._paths[run.key] = folder
        return folder

    def contains(self, run: Run) -> bool:
        """Whether a folder has the key of a run."""
        return self._find(run.key) is not None

    def path(self, run: Run) -> Path:
        """Return the folder of a prepared run."""
        return self._paths[run.key]

    def relative_path(self, run: Run) -> str:
        """Return the folder of a prepared run, relative to the study's folder."""
        return self.path(run).relative_to(self.folder).as_posix()

    def result(self, run: Run) -> RunResult | None:
        """Return the stored result of a run, None without one.

        Raises:
            UserError: The result is damaged.
        """
        return _read_result(self.path(run), run.key)

    def find_result(self, run: Run) -> RunResult | None:
        """Return the stored result of a run that need not be prepared, None without one.

        Raises:
            UserError: The result is damaged.
        """
        folder = self._find(run.key)
        return None if folder is None else _read_result(folder, run.key)

    def weights(self, run: Run) -> Path:
        """Return the path of the last weights of a prepared run."""
        return self.path(run) / LAST_WEIGHTS

    def has_weights(self, run: Run) -> bool:
        """Whether the folder of a prepared run has its last weights."""
        return self.weights(run).is_file()

    def remove_result(self, run: Run) -> None:
        """Remove the result of a run, which then runs again; a failed one from its training state if it has one.

        The trained epochs are kept, because most failures (memory, disk, evaluation) do not concern them. If the state
        leads to the same failure again, the run's error suggests deleting it (see `worker`).
        """
        (self.path(run) / RESULT).unlink(missing_ok=True)

    def adopt(self, run: Run, other: Neighbor) -> bool:
        """Copy a finished run of another study.

        The result comes last, and only then the state of a training here is deleted: if the copying is interrupted, the
        run has no result here and resumes. Files may share their content, because all of them are replaced and never
        changed in place; the log, which runs append to, stays.

        Args:
            run: A prepared run without a result.
            other: From `find_elsewhere`.

        Returns:
            False if a process of an earlier command still works on the run here, or the other one was deleted.

        Raises:
            UserError: The folder cannot be written.
        """
        folder = self.path(run)
        lock = FolderLock(folder)
        if not lock.acquire():
            return False
        with lock:
            if (folder / RESULT).exists() or not ranks_ended(folder, timeout=0.0):
                return False
            try:
                for name in OUTPUTS:
                    if name != LOG and _is_own_file(other.folder / name, other.folder):
                        link_or_copy(other.folder / name, folder / name)
                (folder / TRAINING_STATE).unlink(missing_ok=True)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise disk_error(error, folder) from error
            return (folder / RESULT).exists()

    def find_elsewhere(self, run: Run) -> Neighbor | None:
        """Return the finished run with the same key in another study of the project, preferably one of this user."""
        foreign = None
        for neighbor in self._elsewhere(run):
            if neighbor.own:
                return neighbor
            foreign = foreign or neighbor
        return foreign

    def _elsewhere(self, run: Run) -> Iterator[Neighbor]:
        """Yield the finished runs with the same key in other studies of the same project."""
        for other in sorted(self.folder.parent.glob(f"*/{RUNS}/*-{run.key[:_KEY_DIGITS]}")):
            if other.parent.parent == self.folder or not _is_done(other, run.key):
                continue
            with contextlib.suppress(UserError, OSError):  # it was deleted in the meantime
                yield Neighbor(other, is_own_result(other))

    def count_unused(self, runs: Sequence[Run]) -> int:
        """Count the stored results that belong to none of some prepared runs."""
        used = {self.path(run) for run in runs}
        return sum(path.parent not in used for path in self.folder.glob(f"{RUNS}/*/{RESULT}"))

    def _find(self, key: str) -> Path | None:
        """Return the folder of the run with a key, whatever the name of its arm was."""
        for folder in self._run_folders().get(key[:_KEY_DIGITS], []):
            if read_key(folder) == key:
                return folder
        return None

    def _run_folders(self) -> dict[str, list[Path]]:
        """Return the run folders by the digits at the end of their names; listed once, since there can be thousands."""
        if self._listed is None:
            self._listed = {}
            for folder in sorted(self.folder.glob(f"{RUNS}/*")):
                self._listed.setdefault(folder.name.rpartition("-")[2], []).append(folder)
        return self._listed


def _read_result(folder: Path, key: str) -> RunResult | None:
    """Return the result in a run's folder, None without one.

    Raises:
        UserError: It is damaged, or that of another run.
    """
    if not (folder / RESULT).exists():
        return None
    with contextlib.suppress(UserError):
        result = RunResult.read(folder)
        if result.key == key:
            return result
    raise UserError(f"{folder / RESULT}: damaged; restore it, or delete its folder to run it again")


def _is_done(folder: Path, key: str) -> bool:
    """Whether a run's folder has the result of a done run with a key, its weights and its matches."""
    try:
        result = RunResult.read(folder)
        keys = {read_key(folder), result.key}
    except UserError:
        return False
    needed = all(_is_own_file(folder / name, folder) for name in (LAST_WEIGHTS, MATCHES))
    return keys == {key} and result.status == "done" and needed


def _is_own_file(path: Path, folder: Path) -> bool:
    """Whether a path in a run's folder is a file in the folder of its study, and no link leads out of it."""
    return path.is_file() and path.resolve().is_relative_to(folder.parent.parent.resolve())


def _store_content(platform: Platform) -> dict[str, object]:
    """Return the content of `store.json`."""
    return {
        "schema": SCHEMA,
        "versions": dict(platform.versions),
        "threads": platform.threads,
        "device": platform.device,
        **({"devices": platform.devices} if platform.devices > 1 else {}),
    }


def _write_if_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, text)


def _write_sources(sources: Sources | None, folder: Path) -> dict[str, list[str]]:
    """Write the source files of layers, and nothing else, into a folder's `layers`; return the key of a study file."""
    if sources is None or not sources.files:
        return {}
    target = folder / LAYERS
    if target.is_symlink():  # a study from someone else must not decide where files are written
        target.unlink()
    present = [path for path in sorted(target.rglob("*")) if not path.is_dir()]
    if {path.relative_to(target).as_posix(): path.read_bytes() for path in present} != sources.files:
        shutil.rmtree(target, ignore_errors=True)  # an additional file would be imported instead of an installed module
        for name, content in sources.files.items():
            make_folder((target / name).parent)
            write_atomically(target / name, content)
    return {LAYERS: [f"{LAYERS}/{name}" for name in sources.main_files]}


def slug(name: str) -> str:
    """Return a name that is valid in every file system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "arm"


def _remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while writing."""
    parents = {f"{RUNS}/*/{Path(name).parent.as_posix()}" for name in OUTPUTS}
    for pattern in (".*.tmp", *(f"{parent}/.*.tmp" for parent in parents)):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
