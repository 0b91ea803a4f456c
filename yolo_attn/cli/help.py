"""The help pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from yolo_attn.cli.commands import COMMANDS, STOCK_COMMANDS
from yolo_attn.cli.doctor import versions
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.security.trust import RESTRICTED_FROM, TRUST

__all__ = ["help_pages", "print_help", "print_version"]

_MAIN = """\
yolo-attn: attention layers for Ultralytics YOLO

  yolo-attn COMMAND key=value ...     (--key value and --key=value are the same)

Ultralytics' commands, with the attention layers registered (same arguments, same output):
  {stock}    (also: settings, checks, cfg, version)
    yolo-attn train model=yolo11n-cbam.yaml data=digits recipe=digits
    yolo-attn val model=runs/detect/train/weights/best.pt data=digits

Commands of yolo-attn:
{commands}

Custom layers, in all commands with models:  layers=my_layers.py  (see: yolo-attn help layers)
Files that may run the code they contain:    trust=True           (see: yolo-attn help trust)

  yolo-attn help COMMAND     more about one command
"""

_TRUST = f"""\
yolo-attn COMMAND ... trust=True

Files from others can contain code. Without trust=True no command runs it:

  checkpoints    opened if they contain only classes of Ultralytics, PyTorch and registered layers, else refused
                 (from {RESTRICTED_FROM} on; earlier releases open everything: see yolo-attn doctor)
  model YAMLs    rows name layers, activations are modules with plain arguments (also with trust=True)
  data YAMLs     a download: that is a script does not run; an archive at an https address is downloaded
  label caches   read as plain data; any other cache is rebuilt

trust=True opens all of these as Ultralytics does. {TRUST}=1 in the environment does the same for every command
and for Python. Stock `yolo` opens everything; there ULTRALYTICS_SAFE_LOAD=1 restricts checkpoints. Custom layers are
registered by layers=FILE or by the entry point of their package. docs/trust.md lists what can run code, and when.
"""


def help_pages() -> dict[str, Callable[[], str]]:
    """Return the functions that make the help pages, by topic; "" is the main page."""
    commands = {**COMMANDS, **STOCK_COMMANDS}
    pages = {name: command.help for name, command in commands.items() if command.help is not None}
    return {"": _main_page, "trust": lambda: _TRUST, **pages}


def print_help(words: Sequence[str]) -> int:
    """Print one help page and return the exit status.

    Args:
        words: The topic, such as a command's name; empty for the main page.

    Raises:
        UserError: There is no such topic.
    """
    pages, topic = help_pages(), words[0] if words else ""
    if topic not in pages:
        if topic in STOCK_COMMANDS:
            raise UserError(f"no help on {topic!r}: it is Ultralytics' command; see: yolo help")
        raise UserError(f"no help on {topic!r}{did_you_mean(topic, filter(None, pages)) or '; see: yolo-attn help'}")
    print(pages[topic](), end="")
    if not topic:
        print()
        print_version()
    return 0


def print_version() -> int:
    """Print the versions of yolo-attn and Ultralytics and return the exit status."""
    print(versions())
    return 0


def _main_page() -> str:
    stock = " ".join(command.name for command in STOCK_COMMANDS.values() if command.help is not None)
    names = max(map(len, COMMANDS))
    summaries = max(len(command.summary) for command in COMMANDS.values() if command.keys)
    lines = [f"  {c.name:<{names}}  {c.summary:<{summaries}}  {c.keys}".rstrip() for c in COMMANDS.values()]
    commands = "\n".join(lines)
    return _MAIN.format(stock=stock, commands=commands)
