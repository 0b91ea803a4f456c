"""The recorder of references."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .record import VECTORS, record


class Reference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)) * other
        return y


def test_a_vector_contains_everything_that_reproduces_it(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{\n "zoo": "elsewhere"\n}\n')
    record("mine", "me/repository file.py @ 1", Reference(), (2, 4, 5, 6), (2, 4, 1, 1), folder=tmp_path)
    assert json.loads((tmp_path / "index.json").read_text()) == {
        "mine": "me/repository file.py @ 1",
        "zoo": "elsewhere",
    }
    with np.load(tmp_path / "mine.npz") as arrays:
        vector = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    layer = Reference().eval()
    layer.load_state_dict({key[2:]: value for key, value in vector.items() if key.startswith("w:")})
    assert (layer.norm.weight != 1).all() and (layer.norm.running_var != 1).all()
    xs = [vector[key].requires_grad_() for key in ("x0", "x1")]
    y = layer(*xs)
    assert torch.equal(y, vector["y"])
    gradients = torch.autograd.grad((y * vector["ct"]).sum(), xs)
    assert all(torch.equal(gradient, vector[f"gx{n}"]) for n, gradient in enumerate(gradients))


def test_the_index_has_the_format_that_the_recorder_writes() -> None:
    text = (VECTORS / "index.json").read_text(encoding="utf-8")
    assert text == json.dumps(dict(sorted(json.loads(text).items())), indent=1) + "\n"
