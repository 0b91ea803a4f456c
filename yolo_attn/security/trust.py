"""Permission for files from others to run code: `trust=True`, or `YOLO_ATTN_TRUST=1` in the environment.

docs/trust.md lists what can run code, and when; `yolo_attn.host.restricted` prevents it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from yolo_attn.errors import UserError

__all__ = ["RESTRICTED_FROM", "TRUST", "TRUST_OPTIONS", "is_script", "refuse_script", "trusting", "trusts_files"]

TRUST = "YOLO_ATTN_TRUST"
"""Environment variable; 1 lets files run the code that they contain."""
TRUST_OPTIONS = f"trust=True (or {TRUST}=1)"
RESTRICTED_FROM = "PyTorch 2.6"
"""The first release that can open checkpoints without running code in them."""

_YES = frozenset({"1", "true", "yes", "on"})
_ARCHIVE = re.compile(r"https://[^\s'\"]+\.(zip|tar|gz|tgz|xz|bz2|txz|tbz2)(\?\S*)?", re.IGNORECASE)
_choice: bool | None = None


def trusts_files() -> bool:
    """Return True if files may currently run code in this process."""
    return os.environ.get(TRUST, "").strip().lower() in _YES if _choice is None else _choice


@contextlib.contextmanager
def trusting(choice: bool | None) -> Iterator[None]:
    """Allow or forbid files to run code within a `with` block.

    Args:
        choice: Whether they may; None keeps the current setting.
    """
    global _choice  # noqa: PLW0603 (one switch for the process, which Ultralytics' threads must see)
    before = _choice
    _choice = before if choice is None else choice
    try:
        yield
    finally:
        _choice = before


def is_script(download: object) -> bool:
    """Return True if a data YAML's `download:` is code to run, that is, not the https address of an archive."""
    return bool(download) and not (isinstance(download, str) and _ARCHIVE.fullmatch(download.strip()))


def refuse_script(path: str, download: object) -> None:
    """Raise UserError for a data YAML that would run code, or use an unprotected address, to download its images.

    Args:
        path: The data YAML.
        download: Its `download:`.
    """
    address = str(download).strip()
    if _ARCHIVE.fullmatch(re.sub("^http:", "https:", address)):
        raise UserError(
            f"{path}: its images are not here, and {address} was not downloaded, because anyone on the way can replace "
            "what comes from an http:// address; download and unpack it by hand, or write https://"
        )
    raise UserError(
        f"{path}: its images are not here, and its download: is a script, which was not run; put the images in the "
        f"folders that it names, or, if you trust its author, add {TRUST_OPTIONS}"
    )
