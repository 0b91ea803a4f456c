"""The `yolo-attn` command.

Each command is one module and one entry of `commands.COMMANDS`. The exit status is 0 for success, 1 for findings of
`lint` and `doctor` and for an unfinished `compare` or `search`, 2 with one line for invalid input, 130 after Ctrl-C,
and 143 or 129 after SIGTERM or SIGHUP, which end a command as Ctrl-C does.
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper

from yolo_attn.cli.commands import COMMANDS, find_command
from yolo_attn.cli.help import print_help, print_version
from yolo_attn.cli.words import parse_flag, parse_keys, without_dashes
from yolo_attn.errors import UserError, plain
from yolo_attn.security.trust import trusting
from yolo_attn.system.signals import ending_as_ctrl_c

__all__ = ["COMMANDS", "main"]

_HELP_WORDS = ("-h", "--help")
_SIGNALED = 128  # the exit status of a command that a signal ended, less its number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: The words after the program's name; `sys.argv[1:]` by default.
    """
    _print_any_name()
    with ending_as_ctrl_c() as received:
        return _run_and_report(list(sys.argv[1:] if argv is None else argv), received)


def _run_and_report(words: list[str], received: Sequence[int]) -> int:
    """Run one command, print the line of an error, and return the exit status.

    Args:
        words: The words after the program's name.
        received: The signals that end the command, as they arrive.
    """
    try:
        return _run(words)
    except UserError as error:
        return _report(str(error))
    except KeyboardInterrupt as stop:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print("\n" * sys.stderr.isatty() + f"yolo-attn: {str(stop) or 'stopped'}", file=sys.stderr)
        return _SIGNALED + (received[0] if received else signal.SIGINT)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        from yolo_attn.host.error_messages import environment_message

        message = environment_message(error)
        if message is None:
            raise
        return _report(message)


def _print_any_name() -> None:
    """Let the output show file names that are not UTF-8, such as those of an archive made in another encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(message: str) -> int:
    """Print the one line for invalid input and return its exit status."""
    print(f"yolo-attn: {plain(message)}", file=sys.stderr)
    return 2


def _run(words: list[str]) -> int:
    if not words or words[0] in ("help", *_HELP_WORDS):
        return print_help(words[1:])
    if words[0] == "--version":
        return print_version()
    command, words = find_command(words)
    if command.help is not None and not set(_HELP_WORDS).isdisjoint(words):
        return print_help([command.name])
    if command.takes_dashes:
        words = without_dashes(words)
    if command.takes_layers:
        words = _load_layers(words, keep=command.passes_on, numbers=not command.takes_options)
    return _run_restricted(command.run, words, keep=command.passes_on) if command.opens_files else command.run(words)


def _load_layers(words: list[str], *, keep: bool, numbers: bool = True) -> list[str]:
    """Import the files of `layers=` and return the other words.

    Args:
        words: The words after the command's name.
        keep: Whether the command imports the files itself; then nothing happens here.
        numbers: Whether a number names a file as well; otherwise `layers=2` is an option of a layer.
    """
    given = [word for word in words if re.match(r"layers=" if numbers else r"layers=(?!\d+$)", word)]
    if not given or keep:
        return words
    from yolo_attn.layer_files import load_layers, split_files

    load_layers(split_files(parse_keys(given)["layers"]))
    return [word for word in words if word not in given]


def _run_restricted(run: Callable[[list[str]], int], words: list[str], *, keep: bool) -> int:
    """Run a command that opens files from others; without `trust=True` no code in them runs.

    Args:
        run: The command.
        words: The words after its name.
        keep: Whether the command also receives `trust=`, to pass it on to its processes.
    """
    from yolo_attn.host.restricted import restricted

    given = [word for word in words if word.startswith("trust=")]
    choice = parse_flag(parse_keys(given), "trust") if given else None
    if not keep:
        words = [word for word in words if word not in given]
    with trusting(choice), restricted():
        return run(words)
