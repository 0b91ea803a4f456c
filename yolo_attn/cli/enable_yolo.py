"""`yolo-attn enable-yolo`: the attention layers in the stock `yolo` command and in every other program."""

from __future__ import annotations

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_flag, parse_keys

__all__ = ["COMMAND"]


def _help() -> str:
    return """\
yolo-attn enable-yolo [user=True]

Registers the attention layers in every program of this environment as soon as it imports ultralytics: the stock yolo
command, scripts and notebooks need no import yolo_attn. For this it writes the file yolo_attn_startup.pth to
site-packages, which adds a millisecond to the start of Python. yolo-attn disable-yolo removes the file. It
has no effect after pip uninstall yolo-attn. yolo-attn doctor shows its state.

  user       write the file to the user's site-packages instead, for all environments that read them
"""


def _run(words: list[str]) -> int:
    from yolo_attn.host.startup_file import enable, startup_files

    file, before = enable(user=parse_flag(parse_keys(words, ("user",)), "user"))
    if before is None:
        print("enabled: yolo, and other programs that import ultralytics, have the attention layers")
        print(f"written: {file.path}")
    elif before.is_current:
        print(f"already enabled: {file.path}")
    else:
        print(f"enabled: the file of yolo-attn {before.version} is replaced\nwritten: {file.path}")
    for other in startup_files():
        if other.version is not None and other.path != file.path:
            print(f"also enabled by {other.path}; the layers are registered once")
    return 0


COMMAND = Command(
    name="enable-yolo",
    run=_run,
    summary="attention layers in stock yolo and notebooks without an import",
    keys="[user=True]",
    help=_help,
    opens_files=False,
    takes_layers=False,
)
