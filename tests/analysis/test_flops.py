"""Operation counts against numbers computed by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import flop_counter as torch_counter

from yolo_attn.analysis.flops import count_flops
from yolo_attn.analysis.models import open_model
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.geometry import model_cost
from yolo_attn.layers import SE, CBAMSpatial


class _Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)[:, None].contiguous()  # the layout of the fused kernel
        return F.scaled_dot_product_attention(tokens, tokens, tokens)


class _Tokens(nn.Module):
    """PyTorch's multi-head attention, whose fast path is one opaque operator in inference."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens, need_weights=False)[0]


N, C = 10 * 14, 16
IMAGE = torch.zeros(1, C, 10, 14)
BY_HAND = {
    "convolution": (nn.Conv2d(C, 24, 3, padding=1), 2 * 24 * C * 9 * N),
    "strided": (nn.Conv2d(C, 24, 3, stride=2, padding=1), 2 * 24 * C * 9 * 5 * 7),
    "depthwise": (nn.Conv2d(C, C, 5, padding=2, groups=C), 2 * C * 25 * N),
    "transposed": (nn.ConvTranspose2d(C, 8, 2, stride=2), 2 * C * 8 * 4 * N),
    "attention": (_Attention(), 2 * 2 * N * N * C),
    "multi-head attention": (_Tokens(C), 2 * 4 * N * C * C + 2 * 2 * N * N * C),
    "a squeezed vector": (SE(C, reduction=4), 2 * 2 * C * 4),
    "a spatial gate": (CBAMSpatial(C), 2 * 2 * 49 * N),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_counts(name: str) -> None:
    module, expected = BY_HAND[name]
    assert count_flops(module.eval(), IMAGE) == expected


def test_the_fast_path_is_restored() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    count_flops(_Tokens(C).eval(), IMAGE)
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_attention_on_the_cpu_counts_where_pytorch_has_no_formula_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch up to 2.6."""
    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    monkeypatch.delitem(torch_counter.flop_registry, operator, raising=False)
    module, expected = BY_HAND["attention"]
    assert count_flops(module, IMAGE) == expected


def test_the_count_from_a_yaml_is_the_same_except_for_decoding() -> None:
    """host.geometry counts without running and excludes the head's last step, a 1 x 1 convolution over 16 bins."""
    model = open_model("yolo11n-cbam.yaml")
    anchors = 8 * 8 + 4 * 4 + 2 * 2
    run = count_flops(model, torch.zeros(1, 3, 64, 64))
    assert run - round(1e9 * model_cost(model_yaml("yolo11n-cbam.yaml"), 64).gflops) == 2 * 4 * 16 * anchors
