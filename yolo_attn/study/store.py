"""The folder of a study: what was asked, and every run's result as it comes.

Every file is written whole or not at all; one process at a time works in the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from yolo_attn.errors import UserError
from yolo_attn.study.files import JOB, LAYERS, MODEL, RESULT, RUNS, STORE, STUDY
from yolo_attn.study.specification.study import Place, Run, Study
from yolo_attn.system.files import make_folder, read_json, read_yaml, write_atomically
from yolo_attn.system.locks import FolderLock

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["SCHEMA", "Store", "choose_folder", "read_plan", "slug"]

SCHEMA = 2
_KEY_DIGITS = 8


def choose_folder(study: Study) -> Path:
    """Return the folder for a study: the one named, or one of the default names.

    Of the default names it is the first that holds this very study; with `exist_ok=True` the one that holds a study of
    the same base, dataset and recipe, to which this one is added; otherwise the first that is free.

    Raises:
        UserError: The named folder holds something else and `exist_ok=True` was not given, or is damaged; or this
            study can be added to several.
    """
    place = study.place
    if place.explicit:
        _check_named(place, study)
        return place.folder
    akin, number = [], 1
    while not _is_free(folder := _numbered(place.folder, number)):
        if (folder / STUDY).exists():
            statement = read_plan(folder)
            if study.asks_the_same(statement):
                return folder
            if study.is_akin_to(statement):
                akin.append(folder)
        number += 1
    if not place.exist_ok or not akin:
        return folder
    if len(akin) > 1:
        names = " and ".join(path.name for path in akin)
        raise UserError(f"exist_ok=True: {names} hold studies of this base, data and recipe; say which with name=NAME")
    return akin[0]


def _numbered(folder: Path, number: int) -> Path:
    """Return the folder that comes after a number of others of its name: compare, compare2, compare3, ...."""
    return folder if number == 1 else folder.with_name(f"{folder.name}{number}")


def _check_named(place: Place, study: Study) -> None:
    if _is_free(place.folder) or place.exist_ok:
        return
    if not (place.folder / STUDY).exists():
        raise UserError(f"{place.folder}: holds other files, not a study; give another name=NAME")
    if not study.asks_the_same(read_plan(place.folder)):
        raise UserError(
            f"{place.folder}: holds another study; give another name=NAME, or exist_ok=True to add this one to it"
        )


def _is_free(folder: Path) -> bool:
    """Return True when a folder is not there or holds nothing but what a start that was cut short leaves."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        raise UserError(f"{folder}: a file, not a folder; give another name=NAME")
    return all(item.name in {".lock", STORE} or item.name.endswith(".tmp") for item in folder.iterdir())


def read_plan(folder: Path) -> dict[str, Any]:
    """Return what was asked of the study in a folder.

    Raises:
        UserError: It is damaged; nothing is overwritten.
    """
    path = folder / STUDY
    try:
        statement = read_yaml(path)
    except UserError:
        statement = None
    if isinstance(statement, dict):
        statement.setdefault("controls", [])  # earlier versions knew none; which they were, store.json tells
    keys = {"base": str, "data": str, "variants": list, "controls": list, "seeds": list, "train": dict}
    if not isinstance(statement, dict) or not all(isinstance(statement.get(key), kind) for key, kind in keys.items()):
        raise UserError(f"{path}: damaged; restore it, or give another name=NAME (nothing was overwritten)")
    return statement


class Store:
    """The runs and results of one study.

    Args:
        folder: From `choose_folder`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[str, Path] = {}
        self._listed: dict[str, list[Path]] | None = None
        self._planned_on = self._plan_text()

    @property
    def exists(self) -> bool:
        """True when a study was begun here."""
        return self._planned_on is not None

    def _plan_text(self) -> str | None:
        path = self.folder / STUDY
        return path.read_text(encoding="utf-8") if path.exists() else None

    def check_free(self) -> None:
        """Raise UserError when another process works in the folder; called before the slow part of planning."""
        if self.folder.exists():
            with FolderLock(self.folder):
                pass

    def state(self, versions: Mapping[str, str]) -> dict[str, Any]:
        """Return what the store recorded about itself, {} for a new one.

        Raises:
            UserError: It is damaged, or of another schema or other package versions.
        """
        path = self.folder / STORE
        if not path.exists():
            return {}
        state = read_json(path)
        if state.get("schema") != SCHEMA:
            raise UserError(
                f"{path}: written with store schema {state.get('schema')}, this yolo-attn has {SCHEMA}; "
                "use the yolo-attn that wrote it, or give another name=NAME"
            )
        for package, version in versions.items():
            written = state.get("versions", {}).get(package)
            if written != version:
                raise UserError(
                    f"{self.folder}: run with {package} {written}, installed is {version}, and results of two versions "
                    f"must not be mixed; install {package}=={written}, or give another name=NAME"
                )
        return state

    @contextlib.contextmanager
    def opened(self, study: Study, state: Mapping[str, Any], sources: Sources | None = None) -> Iterator[None]:
        """Hold the folder and record what is asked.

        Args:
            study: What is asked.
            state: What to record about the store.
            sources: The files of the layers that are the user's own.

        Raises:
            UserError: Another process holds it or has changed it since planning, or it cannot be written.
        """
        make_folder(self.folder)
        with FolderLock(self.folder):
            if self._plan_text() != self._planned_on:
                raise UserError(f"{self.folder}: another compare changed the study meanwhile; give the command again")
            _remove_torn(self.folder)
            # The plan comes last: a folder with a plan is complete.
            self._write_if_new(self.folder / STORE, json.dumps({"schema": SCHEMA, **state}, indent=2) + "\n")
            statement = {**study.statement, **_keep(sources, self.folder)}
            self._write_if_new(self.folder / STUDY, yaml.safe_dump(statement, sort_keys=False))
            yield

    @staticmethod
    def _write_if_new(path: Path, text: str) -> None:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)

    def prepare(self, run: Run, common: Mapping[str, Any]) -> Path:
        """Write what a run needs into its folder, which is made when the store has none with the run's key.

        Args:
            run: The run.
            common: What its worker needs beside its inputs: paths, device.

        Raises:
            UserError: The folder cannot be written.
        """
        folder = self._find(run) or self.folder / RUNS / f"{slug(run.arm.name)}-s{run.seed}-{run.key[:_KEY_DIGITS]}"
        make_folder(folder)
        order = {"key": run.key, "arm": run.arm.name, "seed": run.seed, **common, "inputs": run.inputs}
        if run.sources and run.sources.modules:
            order["modules"] = list(run.sources.modules)
            _keep(run.sources, folder)
        self._write_if_new(folder / MODEL, yaml.safe_dump(dict(run.arm.model), sort_keys=False, width=120))
        self._write_if_new(folder / JOB, json.dumps(order, indent=2) + "\n")
        self._paths[run.key] = folder
        return folder

    def path(self, run: Run) -> Path:
        """Return the folder of a prepared run."""
        return self._paths[run.key]

    def result(self, run: Run) -> dict[str, Any] | None:
        """Return the stored result of a run, None when it has none yet.

        Raises:
            UserError: The result is damaged.
        """
        path = self.path(run) / RESULT
        if not path.exists():
            return None
        result = read_json(path)
        if result.get("key") != run.key or result.get("status") not in {"done", "failed"}:
            raise UserError(f"{path}: damaged; restore it, or delete its folder to run it again")
        return result

    def forget(self, run: Run) -> None:
        """Remove the result of a failed run, so that it is run again: from its training state, where it has one.

        The trained epochs are kept, since most failures (memory, disk, evaluation) are not theirs. A state that does
        lead to the same failure again is told in the run's error, with the cure (see `worker`).
        """
        (self.path(run) / RESULT).unlink(missing_ok=True)

    def unused(self, runs: Sequence[Run]) -> int:
        """Return how many runs with a result are there that these runs do not ask for."""
        asked = {self.path(run) for run in runs}
        return sum(path.parent not in asked for path in self.folder.glob(f"{RUNS}/*/{RESULT}"))

    def _find(self, run: Run) -> Path | None:
        """Return the folder that holds a run, under whatever name its arm had then."""
        for folder in self._folders().get(run.key[:_KEY_DIGITS], []):
            if (folder / JOB).is_file() and read_json(folder / JOB).get("key") == run.key:
                return folder
        return None

    def _folders(self) -> dict[str, list[Path]]:
        """Return the run folders by the digits that their names end with; listed once, since there may be thousands."""
        if self._listed is None:
            self._listed = {}
            for folder in sorted(self.folder.glob(f"{RUNS}/*")):
                self._listed.setdefault(folder.name.rpartition("-")[2], []).append(folder)
        return self._listed


def _keep(sources: Sources | None, folder: Path) -> dict[str, list[str]]:
    """Keep the files of layers, and nothing else, below a folder; return its key of a study file, {} without any."""
    if sources is None or not sources.files:
        return {}
    kept = folder / LAYERS
    if kept.is_symlink():  # a received study must not decide where files are written
        kept.unlink()
    there = [path for path in sorted(kept.rglob("*")) if not path.is_dir()]
    if {path.relative_to(kept).as_posix(): path.read_bytes() for path in there} != sources.files:
        shutil.rmtree(kept, ignore_errors=True)  # another file would be imported in the place of an installed module
        for name, content in sources.files.items():
            make_folder((kept / name).parent)
            write_atomically(kept / name, content)
    return {LAYERS: [f"{LAYERS}/{name}" for name in sources.main_files]}


def slug(name: str) -> str:
    """Return a name made of what every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "arm"


def _remove_torn(folder: Path) -> None:
    """Remove temporary files of processes that were killed while they wrote."""
    for path in [*folder.glob(".*.tmp"), *folder.glob(f"{RUNS}/*/.*.tmp")]:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108
