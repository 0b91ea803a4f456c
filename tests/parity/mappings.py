"""Every reference by the name of its vector."""

from __future__ import annotations

from . import channel, hybrid, self_attention, spatial
from .mapping import Mapping

MAPPINGS: dict[str, Mapping] = {
    **channel.MAPPINGS,
    **spatial.MAPPINGS,
    **hybrid.MAPPINGS,
    **self_attention.MAPPINGS,
}
