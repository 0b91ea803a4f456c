"""Checks of the keys of a model YAML other than its rows, before the stock parser fails on them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from yolo_attn.names.spellings import ACTIVATIONS
from yolo_attn.names.suggestions import suggest_word
from yolo_attn.system.files import as_yaml

__all__ = ["find_key_problems", "find_unsafe_keys"]

_SCALE = 3  # depth, width, max channels
_SHOWN = 60  # characters of a value in a message
# Text encoders of Ultralytics' open-vocabulary models; any other text after "clip:" would be a file name.
_TEXT_MODELS = re.compile(
    r"clip:(RN50|RN101|RN50x4|RN50x16|RN50x64|ViT-B/32|ViT-B/16|ViT-L/14|ViT-L/14@336px)|mobileclip2?:\w+"
)


def find_key_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems with `nc`, `scales`, `scale`, the multiples, `ch` and `activation`, each with its fix."""
    yield from _class_problems(document.get("nc"))
    yield from _scale_problems(document.get("scales"), document.get("scale"))
    for key in ("depth_multiple", "width_multiple"):
        if key in document and not _is_positive(document[key]):
            yield f"{key}: {as_yaml(document[key])} is not a positive number; write one, such as {key}: 1.0"
    for key in ("channels", "ch"):
        if document.get(key) is not None and not _is_count(document[key]):
            fix = f"write the number of channels of the images, such as {key}: 3"
            yield f"{key}: {as_yaml(document[key])} is not a positive integer; {fix}"
    yield from find_unsafe_keys(document)


def find_unsafe_keys(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems with keys that Ultralytics would evaluate or load a file by, which could run any code."""
    yield from _activation_problems(document.get("activation"))
    text_model = document.get("text_model")
    if text_model is not None and not (isinstance(text_model, str) and _TEXT_MODELS.fullmatch(text_model)):
        yield f"text_model: {_shown(text_model)} is not a text encoder of Ultralytics; write mobileclip:blt"


def _class_problems(nc: Any) -> Iterator[str]:
    fix = "write the number of classes, such as nc: 80"
    if nc is None:
        yield f"nc: missing or empty; {fix}"
    elif not _is_count(nc):
        yield f"nc: {as_yaml(nc)} is not a positive integer; {fix}"


def _scale_problems(scales: Any, scale: Any) -> Iterator[str]:
    if not scales:
        return
    if not isinstance(scales, dict):
        yield f"scales: {as_yaml(scales)} is not a mapping; write one line for each scale, such as n: [0.5, 0.25, 1024]"
        return
    for name, numbers in scales.items():
        if not isinstance(name, str):
            yield f"scales: the name {name!r} is not text; write '{name}'"
        if not isinstance(numbers, (list, tuple)) or len(numbers) != _SCALE or not all(map(_is_positive, numbers)):
            fix = "write depth, width and max channels, such as [0.5, 0.25, 1024]"
            yield f"scales: {name}: {as_yaml(numbers)} are not three positive numbers; {fix}"
    if scale and str(scale) not in map(str, scales):
        yield f"scale: {scale!r} is not one of its scales ({', '.join(map(str, scales))})"


def _activation_problems(activation: Any) -> Iterator[str]:
    """Yield the problem with an activation that is not a module with literal arguments; Ultralytics evaluates it."""
    if not activation:
        return
    text, fix = _shown(activation), "write one, such as nn.ReLU() or nn.LeakyReLU(0.1)"
    call = _parse(activation)
    cls = _module_class(call.func) if isinstance(call, ast.Call) else None
    if cls is None or not isinstance(call, ast.Call):
        meant = _meant_activation(str(activation).partition("(")[0].rpartition(".")[2])
        yield f"activation: {text} is not a PyTorch module; " + (f"did you mean nn.{meant}()?" if meant else fix)
        return
    try:
        args = [ast.literal_eval(arg) for arg in call.args]
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        yield f"activation: {text} has arguments that are not literals; {fix}"
        return
    try:
        with torch.device("meta"):
            cls(*args, **options)
    except Exception as error:  # a class may raise anything for its arguments
        yield f"activation: {text} cannot be built: {' '.join(str(error).split())}; {fix}"


def _meant_activation(name: str) -> str:
    """Return the activation without required arguments that a name means, or ""."""
    spelt = {word: activation for activation, words in ACTIVATIONS.items() for word in words}
    names = [name for name in nn.modules.activation.__all__ if name not in ("MultiheadAttention", "Threshold")]
    meant = suggest_word(name, [*names, *spelt])
    return spelt.get(meant, meant)


def _parse(text: Any) -> ast.expr | None:
    """Parse a value as an expression; return None if it is not one."""
    try:
        return ast.parse(text.strip(), mode="eval").body if isinstance(text, str) else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _module_class(name: ast.expr) -> type[nn.Module] | None:
    """Return the module class that `nn.X` or `torch.nn.X` names, or None."""
    path, _, word = ast.unparse(name).rpartition(".")
    found = vars(nn).get(word) if path in ("nn", "torch.nn") else None
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
