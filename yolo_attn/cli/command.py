"""The description of one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Command"]


@dataclass(frozen=True)
class Command:
    """One command of `yolo-attn`.

    Args:
        name: The word that selects it.
        run: Called with the words after the name; returns the exit status.
        summary: One line for the list of commands.
        keys: Optional keys, shown after the summary.
        help: Returns the text of `yolo-attn help NAME`, with defaults taken from the code; None without a help page.
        opens_files: Whether it opens files that can contain code (models, datasets); it then accepts `trust=`.
        takes_layers: Whether it accepts `layers=FILE`.
        takes_options: Whether it accepts the options of a layer, of which `layers=2` is one.
        takes_dashes: Whether `--key value` means `key=value`.
        passes_on: Whether it handles `layers=` and `trust=` itself, to pass them on to other processes.
    """

    name: str
    run: Callable[[list[str]], int]
    summary: str = ""
    keys: str = ""
    help: Callable[[], str] | None = None
    opens_files: bool = True
    takes_layers: bool = True
    takes_options: bool = False
    takes_dashes: bool = True
    passes_on: bool = False
