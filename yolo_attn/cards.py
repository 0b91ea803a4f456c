"""What is known about the layers, as a list and as cards: the source of `yolo-attn layers` and of the docs' table."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from yolo_attn.registry import LayerSpec

__all__ = ["as_dict", "card", "listing", "parameters"]


def parameters(spec: LayerSpec, channels: int = 256) -> int:
    """Return a layer's number of parameters at a width, with default options."""
    width = channels if spec.inputs == 1 and not spec.more_inputs else [channels] * spec.inputs
    with torch.device("meta"):
        layer = spec.cls(width)
    return sum(p.numel() for p in layer.parameters())


def row(spec: LayerSpec) -> str:
    """Return the YAML row to paste."""
    source = "-1" if spec.inputs == 1 and not spec.more_inputs else f"[-1{', 6' * (spec.inputs - 1)}]"
    return f"- [{source}, 1, {spec.name}, []]"


def as_dict(spec: LayerSpec) -> dict[str, Any]:
    """Return an entry as plain data, for programs."""
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "family": spec.family,
        "inputs": spec.inputs,
        "more_inputs": spec.more_inputs,
        "summary": spec.summary,
        "paper": spec.paper,
        "year": spec.year,
        "url": spec.url,
        "repository": spec.repository,
        "cost": spec.cost,
        "identity": spec.identity,
        "params_256": parameters(spec),
        "options": spec.options,
        "row": row(spec),
    }


def listing(specs: list[LayerSpec]) -> str:
    """Return the layers as a table."""
    header = ("layer", "family", "inputs", "params (C=256)", "cost", "also known as")
    body = [
        (
            s.name,
            s.family,
            f"{s.inputs}{'+' if s.more_inputs else ''}",
            f"{parameters(s):,}",
            s.cost,
            ", ".join(s.aliases),
        )
        for s in specs
    ]
    widths = [max(len(line[i]) for line in (header, *body)) for i in range(len(header))]
    right = {3}
    lines = [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in (header, *body)
    ]
    return "\n".join(
        [*(line.rstrip() for line in lines), "", f"{len(specs)} layers; one in full: yolo-attn layers CBAM"]
    )


def card(spec: LayerSpec) -> str:
    """Return everything about one layer as text."""
    facts = {
        "family": spec.family,
        "aliases": ", ".join(spec.aliases),
        "inputs": f"{spec.inputs}{' or more' if spec.more_inputs else ''}",
        "paper": ", ".join(str(v) for v in (spec.paper, spec.year) if v),
        "read it": spec.url,
        "code": spec.repository,
        "params": f"{parameters(spec):,} at C=256",
        "cost": spec.cost,
        "identity": spec.identity,
    }
    file = inspect.getdoc(inspect.getmodule(spec.cls)) or ""
    options = [f"  {name}: {value!r}" for name, value in spec.options.items()]
    example = next((f"{{{k}: {_yaml(v)}}}" for k, v in spec.options.items() if k != "start"), "{start: identity}")
    return "\n".join(
        [
            f"{spec.name}: {spec.summary}",
            "",
            *(f"  {key:<9}{value}" for key, value in facts.items() if value),
            "",
            "rows to paste",
            f"  {row(spec)}",
            f"  {row(spec).replace('[]]', f'[{example}]]')}",
            "",
            "options and their defaults",
            *(options or ["  none"]),
            "",
            file.strip(),
            "",
            (inspect.getdoc(spec.cls) or "").strip(),
        ]
    ).rstrip()


def _yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
