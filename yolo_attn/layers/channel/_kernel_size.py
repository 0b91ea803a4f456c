"""The kernel size along the channels that ECA and MLCA derive from the number of channels."""

from __future__ import annotations

from math import log2

__all__ = ["adaptive_kernel_size"]


def adaptive_kernel_size(channels: int) -> int:
    """Return k(C) = |(log2 C + b) / gamma|, rounded up to an odd number, with the papers' gamma = 2 and b = 1."""
    k = int((log2(channels) + 1) / 2)
    return k if k % 2 else k + 1
