"""The table of commands."""

from __future__ import annotations

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


def find_command(name: str) -> Command:
    """Return a command by its name.

    Raises:
        UserError: There is no such command; the message suggests one.
    """
    commands = {**COMMANDS, **STOCK_COMMANDS}
    if name in commands:
        return commands[name]
    known = [command.name for command in commands.values() if command.help is not None]
    raise UserError(f"unknown command {name!r}{did_you_mean(name, known) or '; see: yolo-attn help'}")
