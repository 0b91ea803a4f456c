"""Layers of another commit of this repository, measured in one process with those of this checkout.

The package of the other commit registers its layers in Ultralytics, as every import of it does, so that Ultralytics
builds no models of this checkout afterwards.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from yolo_attn.errors import UserError

from .peers import Peer

__all__ = ["Earlier", "extract"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "yolo_attn"


@dataclass(frozen=True)
class Earlier(Peer):
    """A layer of another commit, with the weights of ours.

    Attributes:
        folder: That commit's files, see `extract`.
    """

    folder: Path = ROOT

    @property
    def name(self) -> str:
        """The commit."""
        return self.package

    def theirs(self, ours: nn.Module, channels: int, side: int) -> nn.Module:
        """Build the layer of the other commit.

        Raises:
            UserError: It has no such layer, or one with other weights.
        """
        torch.manual_seed(0)
        try:
            with _imported_from(self.folder):
                import yolo_attn

                layer: nn.Module = yolo_attn.build(self.layer, channels)
            layer.load_state_dict(ours.state_dict())
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"against={self.package}: it has no {self.layer} with these weights ({reason})") from error
        return layer


def extract(commit: str, folder: Path) -> None:
    """Write the package as it was at a commit.

    Args:
        commit: Anything that `git archive` accepts.
        folder: Where to.

    Raises:
        UserError: There is no such commit here.
    """
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit, PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise UserError(f"against={commit}: Git does not run ({error.strerror}); install it") from error
    if done.returncode:
        raise UserError(f"against={commit}: {done.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


@contextmanager
def _imported_from(folder: Path) -> Iterator[None]:
    """Import the package from a folder in the context, beside the one that is imported already."""
    present = _taken()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _taken()
        sys.modules.update(present)


def _taken() -> dict[str, object]:
    """Return the imported modules of the package, which the next import no longer finds."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == PACKAGE}
