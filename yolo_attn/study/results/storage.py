"""Reading and writing `results.json` and its schema."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.study.files import RESULTS, RESULTS_SCHEMA, STUDY
from yolo_attn.study.results.records import READABLE, StudyResults
from yolo_attn.system.files import as_json, read_json, write_atomically

__all__ = ["SCHEMA_FILE", "read_results", "write_results"]

SCHEMA_FILE = Path(__file__).with_name(RESULTS_SCHEMA)


def read_results(folder: Path) -> StudyResults:
    """Return the content of a study's `results.json`.

    Raises:
        UserError: The file is missing, damaged, or has another schema version.
    """
    path = folder / RESULTS
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a study, such as from=runs/compare/exp")
    if not path.is_file():
        raise UserError(f"{folder}: no study with results ({RESULTS} is missing); `yolo-attn compare` creates one")
    where = f"project={folder.parent} name={folder.name}"
    repair = f"`yolo-attn compare study={folder / STUDY} {where}` writes it again from the runs"
    try:
        data = read_json(path)
    except UserError:
        raise UserError(f"{path}: damaged; {repair}") from None
    if data.get("schema") not in READABLE:
        raise UserError(
            f"{path}: schema {data.get('schema')}, this yolo-attn reads {READABLE[-1]}; use the version that wrote it"
        )
    try:
        return StudyResults.from_json(data)
    except UserError as problem:
        raise UserError(f"{path}: damaged ({problem}); {repair}") from None


def write_results(folder: Path, results: StudyResults) -> None:
    """Write `results.json`, and its schema next to it.

    Raises:
        UserError: The disk is full or cannot be written; the earlier files are unchanged.
    """
    schema, path = SCHEMA_FILE.read_bytes(), folder / RESULTS_SCHEMA
    if not path.is_file() or path.read_bytes() != schema:
        write_atomically(path, schema)
    write_atomically(folder / RESULTS, as_json(results.to_json()))
