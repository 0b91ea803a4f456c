"""Mappings of gates, strips and blocks in detectors of recent years."""

from __future__ import annotations

from yolo_attn.layers import AFGC, SEAM, SGE, MultiSEAM

from .mapping import Mapping, Weights, as_linear, layer, rename, vectors

AMPLIFIER = {"amplifier__fc1": "fc__0", "amplifier__fc2": "fc__2"}


def description(ours: str, theirs: str) -> dict[str, str]:
    """Return the names of one step of the description of SEAM."""
    parts = {"dwconv": "0__fn__0", "depthwise_norm": "0__fn__2", "pointwise": "1", "norm": "3"}
    return {f"{ours}__{name}": f"{theirs}__{reference}" for name, reference in parts.items()}


def seam(weights: Weights) -> Weights:
    steps = (description(f"description__{n}", f"DCovN__{n}") for n in range(2))
    return rename(weights, **AMPLIFIER, **{name: reference for step in steps for name, reference in step.items()})


def multi_seam(weights: Weights) -> Weights:
    names = dict(AMPLIFIER)
    for n in range(3):
        ours, theirs = f"descriptions__{n}", f"DCovN{n}"
        names |= {f"{ours}__{part}": f"{theirs}__{part}" for part in ("0", "2")}
        names |= description(f"{ours}__3", f"{theirs}__3")
    return rename(weights, **names)


def afgc(weights: Weights) -> Weights:
    return as_linear(rename(weights, conv="conv1", fc="fc", mix="mix__w"), "fc.weight")


MAPPINGS = {
    "afgc": Mapping(layer(AFGC), afgc),
    "multiseam": Mapping(layer(MultiSEAM), multi_seam),
    "seam": Mapping(layer(SEAM), seam),
    "seam__n2": Mapping(layer(SEAM, depth=2), seam),
    "sge": Mapping(layer(SGE, groups=8), vectors),
    "sge__g64": Mapping(layer(SGE), vectors),
}
