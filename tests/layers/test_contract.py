"""Contract of all layers, independent of the mechanism, tested for the whole registry."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import yolo_attn.layers
from yolo_attn.layers.base import Chain, Layer
from yolo_attn.layers.folding import fold_norms
from yolo_attn.registry import build

from .cases import CHANNELS, ESTIMATED_GRADIENTS, Case, call, cases, fusions
from .memory import peak_bytes
from .onnx_check import onnx_error
from .representatives import defaults_of_representatives, options_slow, others_slow

EXTREME = 1000
"""Magnitude of inputs whose squares exceed the range of float16; results are compared at that of a case."""

each = pytest.mark.parametrize("case", options_slow(cases()))
each_kind = pytest.mark.parametrize("case", others_slow(cases()))
each_layer = pytest.mark.parametrize("case", cases(options=False), ids=lambda case: case.id)


def close(result: Tensor, other: Tensor, tolerance: float) -> bool:
    """Return whether two tensors differ by less than `tolerance` of the largest value."""
    assert result.shape == other.shape
    result, other = result.detach().double(), other.detach().double()
    return bool(((result - other).abs().max() <= tolerance * other.abs().max().clamp(min=1e-6)).item())


def has_exact_identity(layer: nn.Module) -> bool:
    """Return whether the base classes implement the identity initialization, which makes it exact."""
    return isinstance(layer, (Layer, Chain))


def tensors_in(value: Any) -> list[Tensor | nn.Module]:
    """Return the tensors and modules in a plain attribute, also those in its containers."""
    if isinstance(value, (Tensor, nn.Module)):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_in(v)] if isinstance(value, (list, tuple, set)) else []


# --- building ---------------------------------------------------------------------------------------------------------


@each_layer
def test_builds_or_names_valid_values(case: Case) -> None:
    for channels in (8, 16, 24, 64, 256):
        try:
            layer = case.build(channels)
        except ValueError as error:
            assert str(error).startswith(case.spec.name), channels
            assert "=" in str(error) and "; use" in str(error), channels
            continue
        assert all(parameter.numel() > 0 for parameter in layer.parameters()), f"a hidden width of zero at {channels}"
        xs = case.inputs(5, 4, channels=channels)
        assert call(layer, xs).shape == xs[0].shape, channels


@each_layer
def test_few_channels_work_or_are_rejected(case: Case) -> None:
    for channels in (1, 2, 3, 7):
        try:
            layer = case.build(channels)
        except ValueError as error:
            assert str(error).startswith(f"{case.spec.name}: ") and "; use" in str(error), channels
            continue
        assert call(layer, case.inputs(5, 4, channels=channels)).isfinite().all(), channels


@each_layer
def test_rejects_invalid_channels(case: Case) -> None:
    for channels in (0, -8, 2.5, True, "64"):
        with pytest.raises(ValueError, match=rf"^{case.spec.name}.*channels"):
            case.spec.cls(channels if case.spec.inputs == 1 else [channels] * case.spec.inputs)


@each_layer
def test_rejects_invalid_values_by_name(case: Case) -> None:
    for option, default in case.spec.options.items():
        wrong = "nonsense" if isinstance(default, (str, bool)) else -1
        with pytest.raises(ValueError, match=rf"^{case.spec.name}.*{option}.*use "):
            case.build(**{option: wrong})
        if option.endswith("kernel_size"):
            with pytest.raises(ValueError, match=rf"{option}=4; use "):
                case.build(**{option: 4})


@each_layer
def test_unusual_numbers_work_or_are_rejected(case: Case) -> None:
    numbers = (name for name, default in case.spec.options.items() if type(default) in (int, float))
    for option, value in itertools.product(numbers, (0.05, 0.3, float("inf"), float("nan"))):
        try:
            layer = case.build(**{option: value})
        except ValueError as error:
            assert str(error).startswith(case.spec.name) and f"{option}=" in str(error) and "; use" in str(error)
        else:
            assert call(layer, case.inputs(5, 4)).isfinite().all(), (option, value)


@each_layer
def test_rejects_unknown_options(case: Case) -> None:
    with pytest.raises(ValueError, match=rf"{case.spec.name} has no option 'nonsense'"):
        build(case.spec.name, [8] * case.spec.inputs if case.spec.inputs > 1 else 8, nonsense=1)


@each_layer
def test_rejects_invalid_inputs(case: Case) -> None:
    layer, xs = case.build(), case.inputs()
    wrong_channels = case.inputs(channels=CHANNELS + 8)
    for wrong in (wrong_channels, [x[0] for x in xs], [*xs, *xs] if len(xs) == 1 else xs[:1]):
        with pytest.raises(ValueError, match=rf"^{case.spec.name}"):
            call(layer, wrong)


@each_layer
def test_card_is_complete(case: Case) -> None:
    spec = case.spec
    assert spec.summary and spec.paper and spec.year and spec.url.startswith("https://") and spec.cost
    card = inspect.getdoc(inspect.getmodule(spec.cls)) or ""
    assert all(f"\n{heading}:" in card for heading in ("Paper", "Code", "Shapes", "Deviations"))
    options = inspect.getdoc(spec.cls) or ""
    assert [option for option in spec.options if f"\n    {option}: " not in options] == []


# --- shapes -----------------------------------------------------------------------------------------------------------


@each
def test_any_map_size_and_a_resize_between_calls(case: Case) -> None:
    layer = case.trained()
    for height, width in [(12, 20), (1, 1), (13, 17), (1, 9), (12, 20)]:
        xs = case.inputs(height, width)
        y = call(layer, xs)
        assert y.shape == xs[0].shape
        assert y.isfinite().all()


@each
def test_trains_on_any_map_size_and_a_batch_of_one(case: Case) -> None:
    trained = case.trained().train()
    for size, batch in itertools.product([(1, 1), (1, 3), (6, 7)], [1, 2]):
        layer = copy.deepcopy(trained)
        xs = [x.requires_grad_() for x in case.inputs(*size, batch=batch)]
        y = call(layer, xs)
        y.square().sum().backward()
        assert y.isfinite().all(), (size, batch)
        for x in xs:
            assert x.grad is not None and x.grad.isfinite().all(), (size, batch)
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), (name, size, batch)
        assert all(buffer.isfinite().all() for buffer in layer.buffers()), (size, batch)


@each
def test_constant_maps_are_finite_and_so_are_their_gradients(case: Case) -> None:
    for init, training in itertools.product(["paper", "identity"], [True, False]):
        layer = case.build(init=init)
        xs = [torch.zeros_like(x).requires_grad_() for x in case.inputs()]
        y = call(layer.train(training), xs)
        y.sum().backward()
        assert y.isfinite().all() and all(x.grad is not None and x.grad.isfinite().all() for x in xs), (init, training)


# --- behavior ---------------------------------------------------------------------------------------------------------


@each
def test_evaluation_is_a_function_of_each_image_alone(case: Case) -> None:
    layer, xs = case.trained(), case.inputs(batch=3)
    before = [x.clone() for x in xs]
    state = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        y = call(layer, xs)
        assert torch.equal(y, call(layer, xs)), "a different result for the same input"
        alone = torch.cat([call(layer, [x[n : n + 1] for x in xs]) for n in range(3)])
    assert close(alone, y, 1e-5), "an image's result depends on the others in its batch"
    assert all(torch.equal(x, b) for x, b in zip(xs, before, strict=True)), "the input was changed"
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items()), "state was changed"


@each
def test_folded_norms_change_nothing(case: Case) -> None:
    layer, xs = case.trained().double(), [x.double() for x in case.inputs()]
    y = call(layer, xs)
    fold_norms(layer)
    assert close(call(layer, xs), y, 1e-6)


@each
def test_strides_do_not_matter(case: Case) -> None:
    layer, xs = case.trained(), case.inputs(8, 10)
    y = call(layer, xs)
    with torch.no_grad():
        assert close(call(layer, [x.contiguous(memory_format=torch.channels_last) for x in xs]), y, 1e-5)
        wide = [torch.zeros(2, CHANNELS, 16, 20) for _ in xs]
        for target, x in zip(wide, xs, strict=True):
            target[:, :, ::2, 1::2] = x
        assert close(call(layer, [x[:, :, ::2, 1::2] for x in wide]), y, 1e-5)


@each_kind
def test_gradients_are_correct(case: Case) -> None:
    if case.spec.name in ESTIMATED_GRADIENTS:
        pytest.skip(ESTIMATED_GRADIENTS[case.spec.name])
    layer = case.trained(8).double().train()
    xs = [x.double().requires_grad_() for x in case.inputs(3, 4, batch=3, channels=8)]
    names = [name for name, _ in layer.named_parameters()]

    def function(*tensors: Tensor) -> Tensor:
        weights = dict(zip(names, tensors[len(xs) :], strict=True))
        inputs = list(tensors[: len(xs)])
        return functional_call(layer, weights, (inputs[0] if len(xs) == 1 else inputs,))

    assert torch.autograd.gradcheck(function, (*xs, *layer.parameters()), fast_mode=True)


@each
def test_every_parameter_has_an_effect(case: Case) -> None:
    layer, seen = case.trained(32, init="identity"), set()
    for seed in range(4):  # a ReLU may be zero for one input
        means = case.inputs(1, 1, channels=32, seed=seed + 10)  # different means, for gates that depend on nothing else
        xs = [3 * x + 2 * mean for x, mean in zip(case.inputs(channels=32, seed=seed), means, strict=True)]
        call(layer, xs).square().sum().backward()
        seen |= {name for name, p in layer.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert {name for name, _ in layer.named_parameters()} == seen


@each
def test_in_place_flags_change_nothing(case: Case) -> None:
    layer, xs = case.trained(), case.inputs()
    with torch.no_grad():  # may select other kernels
        y = call(layer, xs)
        for module in layer.modules():
            if hasattr(module, "inplace"):
                module.inplace = True  # Ultralytics sets it when it loads a checkpoint
        assert torch.equal(call(layer, xs), y)


# --- modules and parameters -------------------------------------------------------------------------------------------


@each
def test_stores_tensors_and_modules_in_registers_only(case: Case) -> None:
    layer = case.build()
    plain = {name: set(vars(module)) for name, module in layer.named_modules()}
    call(layer, case.inputs())
    for name, module in layer.named_modules():
        attributes = vars(module)
        assert set(attributes) == plain[name], "the forward pass added attributes"
        registered = ("_parameters", "_buffers", "_modules")
        hidden = [a for a, value in attributes.items() if a not in registered and tensors_in(value)]
        assert hidden == [], "a tensor or module outside of PyTorch's registers"


@each
def test_has_no_attributes_reserved_by_the_host(case: Case) -> None:
    layer = case.build()
    assert not {"f", "i", "type", "np"} & {*vars(layer), *dict(layer.named_children()), *dict(layer.named_parameters())}


@each
def test_parameters_suit_the_optimizers(case: Case) -> None:
    # Muon orthogonalizes every 2-D and 4-D parameter, and parameters named bias have their own learning rate.
    for module in case.build(init="identity").modules():
        matrix = isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d))
        for name, parameter in module.named_parameters(recurse=False):
            assert parameter.ndim in (1, 3) or (matrix and name == "weight"), name
            assert "bias" not in name or parameter.ndim == 1, name
    for path, parameter in case.build(init="identity").named_parameters():
        assert "bias" not in path or parameter.ndim == 1, path  # Ultralytics looks for "bias" in the whole path


@each
def test_can_be_copied_and_pickled_before_and_after_a_pass(case: Case) -> None:
    layer, xs = case.trained(), case.inputs()
    before = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    y = call(layer, xs)
    after = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    assert all(torch.equal(call(other, xs), y) for other in before + after)


# --- initialization ---------------------------------------------------------------------------------------------------


@each
def test_identity_init_is_exact(case: Case) -> None:
    layer = case.build(init="identity")
    for training in (False, True):
        for size in ((6, 7), (1, 1)):
            xs = case.inputs(*size)
            difference = (call(layer.train(training), xs) - xs[0]).abs().max().item()
            assert difference <= (0 if has_exact_identity(layer) else 1e-6)


@each_kind
@pytest.mark.parametrize(
    "scale", [pytest.param(0.1, marks=pytest.mark.slow), 1.0, pytest.param(10.0, marks=pytest.mark.slow)]
)
def test_identity_init_learns(case: Case, scale: float) -> None:
    # Adam changes every parameter with a nonzero gradient, however small, by about the learning rate. In float64
    # parameters that a norm or a softmax cancels change by at most 1e-8, which is clearly distinct.
    layer, rate = case.build(32, init="identity").double().train(), 0.01
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    moved = dict.fromkeys(before, 0.0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    for seed in range(10):
        xs = [scale * x.double() for x in case.inputs(4, 5, batch=3, channels=32, seed=seed)]
        target = scale * torch.randn(xs[0].shape, generator=torch.Generator().manual_seed(100 + seed)).double()
        optimizer.zero_grad()
        ((call(layer, xs) - target) / scale).square().mean().backward()
        optimizer.step()
        for name, p in layer.named_parameters():
            moved[name] = max(moved[name], (p - before[name]).abs().max().item())
    unseen = {name for name in moved if case.unseen_in_training(name)}
    assert {name: by for name, by in moved.items() if name not in unseen and by < rate / 10} == {}
    assert {name: by for name, by in moved.items() if name in unseen and by > 1e-6} == {}
    if case.spec.name not in ESTIMATED_GRADIENTS:  # the hard mask changes in steps
        xs = [scale * x.double() for x in case.inputs(channels=32)]
        assert (call(layer, xs) - xs[0]).abs().max() > 1e-4 * scale


# --- precision --------------------------------------------------------------------------------------------------------


@each
def test_half_precision(case: Case) -> None:
    # Large logits turn small rounding errors into different choices at single positions: compare the norm.
    trained = case.trained()
    types = ((torch.float16, 0.01), (torch.bfloat16, 0.05))
    for (dtype, tolerance), magnitude in itertools.product(types, (1, case.magnitude)):
        half = copy.deepcopy(trained).to(dtype)
        wide = copy.deepcopy(half).float()
        xs = [(magnitude * x).to(dtype) for x in case.inputs(20, 20)]
        with torch.no_grad():
            y, reference = call(half, xs), call(wide, [x.float() for x in xs])
        assert y.dtype == dtype and y.isfinite().all()
        assert (y.float() - reference).norm() < tolerance * reference.norm()


@pytest.mark.parametrize("case", options_slow([case for case in cases() if case.magnitude < EXTREME]))
def test_half_precision_is_finite_where_float16_overflows(case: Case) -> None:
    half = case.trained().half()
    with torch.no_grad():
        assert call(half, [(EXTREME * x).half() for x in case.inputs(20, 20)]).isfinite().all()


@each
def test_autocast(case: Case) -> None:
    layer = case.trained().train()
    xs = [x.requires_grad_() for x in case.inputs(20, 20)]
    reference = call(copy.deepcopy(layer), xs)
    with torch.autocast("cpu", torch.bfloat16):
        y = call(layer, xs)
    y.sum().backward()
    assert y.dtype == xs[0].dtype
    assert close(y, reference, 0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*xs, *layer.parameters()])


@each_kind
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [pytest.param(torch.float16, 0.01, marks=pytest.mark.slow), (torch.bfloat16, 0.05)]
)
def test_autocast_of_maps_in_half_precision(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    # In mixed precision parameters are float32, and convolutions return half precision.
    rows = [nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(case.spec.inputs)]
    for training, init in itertools.product((True, False), ("paper", "identity")):
        layer = case.trained(init=init).train(training)
        wide = copy.deepcopy(layer)
        with torch.autocast("cpu", dtype):
            xs = [row(x) for row, x in zip(rows, case.inputs(20, 20), strict=True)]
            y = call(layer, xs)
        y.float().sum().backward()
        assert {x.dtype for x in xs} == {y.dtype} == {dtype}
        reference = call(wide, [x.detach().float() for x in xs])
        assert (y.float() - reference).norm() < tolerance * reference.norm()
        parameters = [*layer.parameters(), *(p for row in rows for p in row.parameters())]
        assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


@pytest.mark.parametrize("case", others_slow(fusions()))
@pytest.mark.parametrize("init", ["paper", "identity"])
def test_fuses_maps_of_different_dtypes_into_the_dtype_of_the_first(case: Case, init: str) -> None:
    # Under autocast, rows that end in a layer norm return float32, and rows that end in a convolution half precision.
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    least = case.spec.inputs - case.spec.optional_inputs
    counts = range(least, case.spec.inputs + case.spec.more_inputs + 1)
    for count, autocast in itertools.product(counts, dtypes[1:]):
        for mixed in itertools.product(dtypes, repeat=count):
            layer = case.build(inputs=count, init=init).eval()
            xs = [x.to(d).requires_grad_() for x, d in zip(case.inputs(20, 20, count=count), mixed, strict=True)]
            reference = call(layer, [x.float() for x in xs])
            with torch.autocast("cpu", autocast):
                y = call(layer, xs)
            y.float().sum().backward()
            assert y.dtype == mixed[0]
            assert (y.float() - reference).norm() < 0.05 * reference.norm()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in [*xs, *layer.parameters()])


@each_kind
@pytest.mark.parametrize("magnitude", [*(pytest.param(low, marks=pytest.mark.slow) for low in (100, 1000)), 3000])
def test_identity_init_is_exact_where_float16_overflows(case: Case, magnitude: float) -> None:
    for training in (False, True):
        layer = case.build(init="identity").half().train(training)
        xs = [(magnitude * x).half() for x in case.inputs(20, 20)]
        assert (call(layer, xs) - xs[0]).abs().max() <= (0 if has_exact_identity(layer) else 1e-3 * magnitude)

        layer = case.build(init="identity").train(training)
        for dtype in (torch.float16, torch.float32):
            xs = [x.detach().to(dtype).requires_grad_() for x in xs]
            with torch.autocast("cpu", torch.float16):
                y = call(layer, xs)
            assert (y - xs[0]).abs().max() <= (0 if has_exact_identity(layer) else 1e-3 * magnitude)
            y.float().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in [*xs, *layer.parameters()])
        assert all(buffer.isfinite().all() for buffer in layer.buffers())


@each_layer
def test_runs_on_the_meta_device(case: Case) -> None:
    with torch.device("meta"):
        layer, xs = case.build().eval(), [torch.empty(2, CHANNELS, 6, 7) for _ in range(case.spec.inputs)]
        assert call(layer, xs).shape == (2, CHANNELS, 6, 7)


# --- compilers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", defaults_of_representatives(cases(), {"CBAM", "MHSA"}))
def test_compiles_without_breaks(case: Case) -> None:
    """For one size of maps, and with default options again for any size."""
    torch._dynamo.reset()
    layer = case.trained()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    with torch.no_grad():
        for size in ((6, 7),) if case.options else ((6, 7), (9, 4)):
            xs = case.inputs(*size)
            assert close(call(compiled, xs), call(layer, xs), 1e-5)


@each_kind
@pytest.mark.filterwarnings("ignore:Constant folding")
@pytest.mark.parametrize(
    "dynamic", [pytest.param(False, id="fixed", marks=pytest.mark.slow), pytest.param(True, id="dynamic")]
)
def test_exports_to_onnx(case: Case, dynamic: bool) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert onnx_error(case, dynamic) <= 1e-4


@pytest.mark.parametrize("case", defaults_of_representatives(cases()))
def test_memory_of_inference_on_a_large_map(case: Case) -> None:
    # One such map is 6.6 MB. Layers use most memory on a GPU, because they compute more positions at once there.
    shapes = [(1, 64, 160, 160)] * case.spec.inputs
    assert peak_bytes(lambda: case.build(64), *shapes, device="cuda") < 600e6


# --- the package ------------------------------------------------------------------------------------------------------


def test_layers_do_not_import_the_host() -> None:
    for path in Path(yolo_attn.layers.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] != "ultralytics", path
                assert not name.startswith("yolo_attn.") or name.startswith(
                    ("yolo_attn.layers.", "yolo_attn.registry", "yolo_attn.errors", "yolo_attn.system")
                ), path


def test_every_layer_is_exported() -> None:
    registered = {case.spec.cls.__name__ for case in cases(options=False)}
    assert registered == set(yolo_attn.layers.__all__)
