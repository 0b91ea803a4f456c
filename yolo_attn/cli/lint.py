"""`yolo-attn lint`: problems of a hand-made model YAML."""

from __future__ import annotations

import dataclasses
import json

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_format, parse_keys, require_keys

__all__ = ["COMMAND"]


def _help() -> str:
    return """\
yolo-attn lint model=FILE [format=json]

Checks a hand-made model YAML for unknown names and options, a from that dangles or points forward, rows without a
consumer, skip connections that bypass a layer, and a head at the wrong strides. Compared with the stock model that the
file was made from, it finds rows whose indices were not shifted. It also reports a scale in the name that the file does
not define. Each finding names file and line. The exit status is 1 if there are findings.
"""


def _run(words: list[str]) -> int:
    from yolo_attn.host.linting import lint

    keys = parse_keys(words, ("model", "format"))
    require_keys("lint", keys, ("model",), "lint model=mine.yaml")
    findings = lint(keys["model"])
    if parse_format(keys) == "json":
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(str, findings)) or f"{keys['model']}: no problems found")
    return 1 if findings else 0


COMMAND = Command(
    name="lint",
    run=_run,
    summary="find the problems of a hand-made model YAML",
    keys="[format=json]",
    help=_help,
)
