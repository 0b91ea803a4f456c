"""`yolo-attn layers`: the list of attention layers, or the card of one."""

from __future__ import annotations

import json
import shutil

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_format, parse_keys
from yolo_attn.errors import UserError, did_you_mean

__all__ = ["COMMAND"]


def _help() -> str:
    return """\
yolo-attn layers [NAME] [family=FAMILY] [layers=FILE] [format=json]

Lists every attention layer, or shows one: its formula, its paper, its options, the YAML row to paste.

A custom layer is a class with the decorator @yolo_attn.register_layer(...) in a Python file. Every command with models
takes such files as layers=my_layers.py (several with commas): train, val, predict, export, compare, place, lint, ....

  yolo-attn layers
  yolo-attn layers family=channel
  yolo-attn layers CBAM
"""


def _run(words: list[str]) -> int:
    from yolo_attn import cards
    from yolo_attn.registry import FAMILIES, get_layer, in_any_case, list_layers

    names = [word for word in words if "=" not in word]
    keys = parse_keys([word for word in words if "=" in word], ("family", "format"))
    if len(names) > 1:
        raise UserError(f"layers shows one layer at a time, not {len(names)}: {' '.join(names)}")
    family = keys.get("family")
    if family is not None and family not in FAMILIES:
        raise UserError(f"family={family!r}{did_you_mean(family, FAMILIES)} (known: {', '.join(FAMILIES)})")
    specs = [get_layer(in_any_case(names[0]))] if names else list_layers(family=family)
    if parse_format(keys) == "json":
        print(json.dumps([cards.as_dict(spec) for spec in specs], indent=2, ensure_ascii=False, default=repr))
    else:
        width = shutil.get_terminal_size().columns
        print(cards.card(specs[0], width) if names else cards.listing(specs, width))
    return 0


COMMAND = Command(
    name="layers",
    run=_run,
    summary="list the attention layers; `layers CBAM` shows one",
    keys="[family=channel] [format=json]",
    help=_help,
    opens_files=False,
)
