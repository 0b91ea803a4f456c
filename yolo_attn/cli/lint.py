"""`yolo-attn lint`: problems of a hand-made model YAML."""

from __future__ import annotations

import dataclasses
import json
import sys

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_flag, parse_format, parse_keys, require_keys
from yolo_attn.errors import UserError
from yolo_attn.system.files import write_new

__all__ = ["COMMAND"]

_OF_FIX = ("out", "exist_ok")  # keys that require fix=True


def _help() -> str:
    return """\
yolo-attn lint model=FILE [format=json]
yolo-attn lint model=FILE fix=True [out=FILE] [exist_ok=True] [format=json]

Checks a hand-made model YAML for unknown names and options, a from that dangles or points forward, rows without a
consumer, skip connections that bypass a layer, and a head at the wrong strides. Compared with the stock model that the
file was made from, it finds rows whose indices were not shifted. It also reports a scale in the name that the file does
not define. Each finding names file and line. The exit status is 1 if there are findings.

With fix=True it rewrites the file of a fork or a tutorial into a new file, and prints a diff with the reason of each
change: names of modules, positional channels and options, and indices that were not shifted. What the file does not
determine is printed instead, one line each; then nothing is written, and the exit status is 2.

  out        the new file (FILE-fixed.yaml beside it; foo means foo.yaml); an existing one is kept without exist_ok=True

  yolo-attn lint model=their.yaml fix=True out=mine.yaml
"""


def _run(words: list[str]) -> int:
    from yolo_attn.host.linting import lint

    keys = parse_keys(words, ("model", "format", "fix", *_OF_FIX))
    require_keys("lint", keys, ("model",), "lint model=mine.yaml")
    if parse_flag(keys, "fix"):
        return _fix(keys)
    if given := [key for key in _OF_FIX if key in keys]:
        raise UserError(f"{given[0]}= needs fix=True; without it lint writes nothing")
    findings = lint(keys["model"])
    if parse_format(keys) == "json":
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(str, findings)) or f"{keys['model']}: no problems found")
    return 1 if findings else 0


def _fix(keys: dict[str, str]) -> int:
    """Write the file of a fork or a tutorial as a new file."""
    from yolo_attn.host.migration import migrate
    from yolo_attn.host.placement import model_file

    as_json, replace = parse_format(keys) == "json", parse_flag(keys, "exist_ok")
    migration = migrate(keys["model"], model_file(keys["out"]) if keys.get("out") else None)
    if migration.hunks:
        write_new(migration.out, migration.text, exist_ok=replace)
    if as_json:
        print(json.dumps(migration.to_dict(), indent=2))
    elif migration.unknown:
        print("\n".join(map(str, migration.unknown)), file=sys.stderr)
    else:
        print(migration)
    return 2 if migration.unknown else 0


COMMAND = Command(
    name="lint",
    run=_run,
    summary="find the problems of a hand-made model YAML",
    keys="[format=json] [fix=True out=FILE]",
    help=_help,
)
