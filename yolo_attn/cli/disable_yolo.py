"""`yolo-attn disable-yolo`: removes what `yolo-attn enable-yolo` wrote."""

from __future__ import annotations

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_flag, parse_keys

__all__ = ["COMMAND"]


def _help() -> str:
    return """\
yolo-attn disable-yolo [user=True]

Removes the file that yolo-attn enable-yolo wrote for this environment. Stock yolo then knows the attention layers only
when it opens a checkpoint that contains them.

  user       remove the file of enable-yolo user=True
"""


def _run(words: list[str]) -> int:
    from yolo_attn.host.startup_file import disable, own_folder, startup_files

    user = parse_flag(parse_keys(words, ("user",)), "user")
    removed = disable(user=user)
    print(
        f"not enabled: no start-up file in {own_folder(user=user)}" if removed is None else f"removed: {removed.path}"
    )
    for other in startup_files():
        if other.version is not None:
            how = "yolo-attn disable-yolo user=True" if other.is_of_user else "give this command in that environment"
            print(f"still enabled by {other.path}: {how}")
    return 0


COMMAND = Command(
    name="disable-yolo",
    run=_run,
    summary="undo enable-yolo",
    keys="[user=True]",
    help=_help,
    opens_files=False,
    takes_layers=False,
)
