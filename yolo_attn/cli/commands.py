"""The table of commands."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.cli import (
    compare,
    disable_yolo,
    doctor,
    enable_yolo,
    layers,
    lint,
    maps,
    place,
    profile,
    report,
    search,
    stock,
)
from yolo_attn.cli.command import Command
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.host.arguments import TASKS, VERBS, plain_word

__all__ = ["COMMANDS", "STOCK_COMMANDS", "find_command"]

_MODULES = (
    layers,
    place,
    lint,
    compare,
    search,
    report,
    profile,
    maps,
    doctor,
    enable_yolo,
    disable_yolo,
)

COMMANDS: dict[str, Command] = {module.COMMAND.name: module.COMMAND for module in _MODULES}
"""The commands of yolo-attn by name, in the order of the help page."""

STOCK_COMMANDS: dict[str, Command] = {command.name: command for command in stock.COMMANDS}
"""Ultralytics' commands by name."""


def find_command(words: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command among a line's words, and the other words.

    As with `yolo`, a command of Ultralytics may follow its task and its keys, and may be written mode=train.

    Raises:
        UserError: There is no such command; the message suggests one.
    """
    commands = {**COMMANDS, **STOCK_COMMANDS}
    names = [plain_word(word) for word in words]
    first = names[0]
    verb = next((name for name in names if name in VERBS), first) if first in TASKS or "=" in first else first
    if verb in commands:
        position = names.index(verb)
        return commands[verb], [*words[:position], *words[position + 1 :]]
    known = [command.name for command in commands.values() if command.help is not None]
    raise UserError(f"unknown command {verb!r}{did_you_mean(verb, known) or '; see: yolo-attn help'}")
