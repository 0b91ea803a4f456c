"""All mappings by the names of their vectors."""

from __future__ import annotations

from . import (
    channel,
    convolutions,
    cross,
    fusion,
    gated_convolutions,
    gates,
    hybrid,
    large_kernel,
    mixers,
    pyramid,
    recent,
    self_attention,
    spatial,
)
from .mapping import Mapping

MAPPINGS: dict[str, Mapping] = {
    **channel.MAPPINGS,
    **spatial.MAPPINGS,
    **hybrid.MAPPINGS,
    **large_kernel.MAPPINGS,
    **self_attention.MAPPINGS,
    **mixers.MAPPINGS,
    **recent.MAPPINGS,
    **gates.MAPPINGS,
    **fusion.MAPPINGS,
    **gated_convolutions.MAPPINGS,
    **cross.MAPPINGS,
    **convolutions.MAPPINGS,
    **pyramid.MAPPINGS,
}
