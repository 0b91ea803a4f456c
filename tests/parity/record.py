"""Record a reference as a vector: its weights, inputs, output and input gradients, with its source in the index.

Call `record` in a script that imports the authors' code:

    from tests.parity.record import record

    record("se", "hujie-frank/SENet models/se.py @ <commit>", SELayer(32), (2, 32, 8, 9))
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

VECTORS = Path(__file__).parent / "vectors"


def record(name: str, source: str, reference: nn.Module, *shapes: tuple[int, ...], folder: Path = VECTORS) -> None:
    """Write a vector and add its source to the index.

    Args:
        name: Name of the vector.
        source: Repository, file and commit of the reference.
        reference: The authors' module; its weights and running statistics become random.
        shapes: Shapes of the inputs, (B, C, H, W) each.
        folder: Folder of the vectors.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        randomize(reference.eval())
        xs = [torch.randn(*shape, requires_grad=True) for shape in shapes]
        y = reference(*xs)
        ct = torch.randn_like(y)
    gradients = torch.autograd.grad((y * ct).sum(), xs)
    arrays = {f"w:{key}": value for key, value in reference.state_dict().items()}
    arrays |= {f"x{n}": x for n, x in enumerate(xs)} | {"y": y, "ct": ct}
    arrays |= {f"gx{n}": gradient for n, gradient in enumerate(gradients)}
    np.savez_compressed(folder / f"{name}.npz", **{key: value.detach().numpy() for key, value in arrays.items()})
    index = folder / "index.json"
    sources = {**json.loads(index.read_text(encoding="utf-8")), name: source}
    index.write_text(json.dumps(dict(sorted(sources.items())), indent=1) + "\n", encoding="utf-8")


def randomize(module: nn.Module) -> None:
    """Add noise to all parameters, because initial zeros and ones hide errors, and set random running statistics."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    randomize_statistics(module)


def randomize_statistics(module: nn.Module) -> None:
    """Set random running statistics of all batch norms."""
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
