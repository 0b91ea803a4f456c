"""Every layer on a CUDA device without data: one device, no waiting for it, and the types of mixed precision.

These tests need no GPU. Those that compute on one are in tests/cuda/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from yolo_attn.layers.self_attention._tokens import _attend_on_gpu, attend

from .cases import CHANNELS, Case, call, cases
from .fake_cuda import OneDevice, autocast, fake_cuda, move
from .representatives import others_slow

each_kind = pytest.mark.parametrize("case", others_slow(cases()))
SHAPE = (2, CHANNELS, 9, 12)


def maps(case: Case, device: str, dtype: torch.dtype = torch.float32, *, grad: bool = False) -> list[Tensor]:
    return [torch.empty(SHAPE, device=device, dtype=dtype, requires_grad=grad) for _ in range(case.spec.inputs)]


@each_kind
def test_autocast_in_training_and_in_inference(case: Case) -> None:
    layer = case.build()
    with fake_cuda():
        move(layer)
        # Rows before the layer are convolutions, which return half precision, or norms, which return float32.
        for training, autocast_dtype, dtype in (
            (True, torch.float16, torch.float16),
            (False, torch.bfloat16, torch.float32),
        ):
            with autocast(autocast_dtype), OneDevice():
                y = call(layer.train(training), maps(case, "cuda", dtype, grad=training))
            assert (y.device.type, y.dtype) == ("cuda", dtype)


@each_kind
def test_half(case: Case) -> None:
    layer = case.build().eval()
    with fake_cuda(), OneDevice():
        y = call(move(layer, dtype=torch.float16), maps(case, "cuda", torch.float16))
        assert (y.device.type, y.dtype) == ("cuda", torch.float16)


class _FusedKernels(TorchFunctionMode):
    """Raise where PyTorch would store the weights of an attention, because no fused kernel accepts the arguments."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            mask = (kwargs or {}).get("attn_mask")
            assert len({x.shape[-1] for x in args}) == 1 and args[0].shape[-1] % 8 == 0
            assert all(x.stride(-1) == 1 for x in [*args, *([] if mask is None else [mask])])
        return func(*args, **(kwargs or {}))


@each_kind
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_fused_kernels_accept_every_attention(case: Case, memory_format: torch.memory_format) -> None:
    layer = case.build().eval()
    with fake_cuda():
        move(layer)
        for dtype in (None, torch.float16):
            xs = [x.contiguous(memory_format=memory_format) for x in maps(case, "cuda")]
            with autocast(dtype), _FusedKernels(), torch.no_grad():
                call(layer, xs)


@pytest.mark.parametrize(("width", "depth"), [(16, 16), (16, 27), (5, 5)])
def test_rows_of_any_width_and_layout_reach_a_fused_kernel(width: int, depth: int) -> None:
    with fake_cuda(), _FusedKernels():
        q, k, v = (torch.empty(2, d, 30, device="cuda").transpose(1, 2)[:, None] for d in (width, width, depth))
        bias = torch.empty(1, 1, 30, 30, device="cuda").transpose(2, 3)
        assert attend(q, k, v, bias=bias).shape == (2, 1, 30, depth)


@pytest.mark.parametrize("masked", [False, True])
def test_aligned_attention_is_the_same_attention(masked: bool) -> None:
    q, k, v = (torch.randn(2, 30, 3, d).transpose(1, 2) for d in (5, 5, 7))
    bias = torch.randn(30, 30).T if masked else None
    logits = q @ k.transpose(2, 3) * 5**-0.5 + (0 if bias is None else bias)
    torch.testing.assert_close(_attend_on_gpu(q, k, v, None, bias), logits.softmax(3) @ v)


@each_kind
def test_gradients_stay_on_one_device(case: Case) -> None:
    # The meta device, because without a GPU autograd has no queue of work for "cuda".
    layer, xs = move(case.build().train(), "meta"), maps(case, "meta", grad=True)
    with OneDevice():
        call(layer, xs).sum().backward()
    assert all(x.grad is not None and x.grad.device.type == "meta" for x in [*xs, *layer.parameters()])


class _Table(nn.Module):
    """A layer whose constant is not a buffer, so it stays on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.ones(12)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table


@pytest.mark.parametrize(
    "wrong",
    [
        _Table(),
        lambda x: x * torch.arange(12),
        lambda x: x[..., torch.tensor([0, 1])],
        lambda x: x + torch.arange(12).to(x.device),
        lambda x: x.cpu(),
        lambda x: x.mean().cpu(),
        lambda x: x * x.mean().item(),
        lambda x: x if x.mean() > 0 else -x,
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.copy_(torch.zeros(12)),
    ],
)
def test_waiting_for_the_device_is_found(wrong: Callable[[Tensor], Tensor]) -> None:
    with fake_cuda():
        if isinstance(wrong, _Table):
            wrong.table = torch.ones(12)
        x = torch.empty(SHAPE, device="cuda")
        with OneDevice(), pytest.raises(RuntimeError):
            wrong(x)


def test_numbers_may_be_on_the_cpu() -> None:
    with fake_cuda(), OneDevice():
        assert (torch.empty(SHAPE, device="cuda") * torch.tensor(0.5)).device.type == "cuda"
