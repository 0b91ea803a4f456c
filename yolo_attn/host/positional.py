"""Positional arguments of attention rows in forks and tutorials, read as options of the layer.

A fork's parser prepends the channels of the input, or expects them in the row: `[1024]`, `[512, 512]` and `[1024, 16]`
mean channels, channels of input and output, and channels and an option. Which option it is depends on the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from yolo_attn.errors import UserError
from yolo_attn.names.forks import COPIES, POSITIONAL, Signature
from yolo_attn.registry import OUT_CHANNELS, LayerSpec
from yolo_attn.system.files import EXPONENT, as_yaml

__all__ = ["Reading", "builds", "is_width", "read_positional"]

_LEAST_WIDTH, _WIDTH_STEP = 64, 16
_WIDTH = 256  # of the layer that tests a value
_MOST = 4  # times the default; a larger value of an option is not one


@dataclass(frozen=True)
class Reading:
    """The meaning of a row's positional arguments.

    Args:
        options: The options by name.
        reasons: The meaning of each argument.
    """

    options: dict[str, Any]
    reasons: tuple[str, ...]


def is_width(value: Any) -> bool:
    """Return whether a positional argument looks like a number of channels."""
    integer = isinstance(value, int) and not isinstance(value, bool)
    return integer and value >= _LEAST_WIDTH and value % _WIDTH_STEP == 0


def read_positional(spec: LayerSpec, args: Sequence[Any], width: int) -> Reading:
    """Return the options that the arguments of a row mean.

    Args:
        spec: The layer.
        args: The arguments as written; mappings contain options by name.
        width: Channels of the row's input as written in the YAML, before scaling; 0 if unknown.

    Raises:
        UserError: The arguments have no known meaning, or several.
    """
    named = {key: value for part in args if isinstance(part, dict) for key, value in part.items()}
    values = [None if part == "None" else part for part in args if not isinstance(part, dict)]
    readings: dict[str, Reading] = {}
    for reading in _readings(spec, values, width):
        effective = {key: value for key, value in reading.options.items() if value != spec.options[key]}
        readings.setdefault(as_yaml(effective), reading)
    if len(readings) == 1:
        (reading,) = readings.values()
        for key in reading.options.keys() & named.keys():
            if reading.options[key] != named[key]:
                both = f"{as_yaml(reading.options[key])} and {as_yaml(named[key])}"
                raise UserError(f"{spec.name}: {key} is given twice, {both}; write one of them")
        return Reading({**reading.options, **named}, (*reading.reasons, *_differing(spec, reading.options, named)))
    choices = " or ".join(as_yaml([r.options] if r.options else []) for r in readings.values())
    known = ", ".join(spec.options)
    if readings:
        raise UserError(f"{spec.name}: {as_yaml(values)} has several meanings; write {choices}")
    raise UserError(f"{spec.name}: {as_yaml(values)} has no known meaning; write options by name: {known}")


def _readings(spec: LayerSpec, values: Sequence[Any], width: int) -> Iterator[Reading]:
    """Yield the possible meanings, those with the most numbers of channels first."""
    for channels in (2, 1, 0):
        given, rest = values[:channels], values[channels:]
        if len(given) < channels or len(set(map(repr, given))) > 1 or not all(_is_channels(v, width) for v in given):
            continue
        options, reasons = _read_channels(spec, given)
        if not rest:
            yield Reading(options, reasons)
        for signature in POSITIONAL.get(spec.name, ()):
            if (more := _read_options(spec, signature, rest)) is not None:
                yield Reading({**options, **more.options}, (*reasons, *more.reasons))


def _is_channels(value: Any, width: int) -> bool:
    return is_width(value) or (bool(width) and type(value) is int and value == width)


def _read_channels(spec: LayerSpec, given: Sequence[Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    if given and OUT_CHANNELS in spec.options:
        return {OUT_CHANNELS: given[-1]}, (f"{given[-1]} is {OUT_CHANNELS}",)
    if not given:
        return {}, ()
    return {}, (f"channels are inferred, so {' and '.join(map(str, given))} is dropped",)


def _read_options(spec: LayerSpec, signature: Signature, values: Sequence[Any]) -> Reading | None:
    """Return the meaning of values in the order of a signature; None if they do not fit."""
    full = signature[0].startswith("(")
    if not values or len(values) > len(signature) or (full and len(values) < len(signature)):
        return None
    options, reasons = {}, []
    for name, value in zip(signature, values, strict=False):
        if name.startswith("("):
            reasons.append(f"{as_yaml(value)} is the {name.strip('()')}, which has no effect here")
        elif value is not None:
            option = _option(spec, name, value)
            if option is None:
                return None
            options[name] = option
            reasons.append(f"{as_yaml(value)} is {name}")
    return Reading(options, tuple(reasons))


def _option(spec: LayerSpec, name: str, value: Any) -> Any:
    """Return the value of an option, or None if it cannot be its value."""
    default = spec.options[name]
    if isinstance(value, str) and EXPONENT.fullmatch(value):
        value = float(value)
    if isinstance(default, bool) or isinstance(value, bool):
        plausible = type(value) is type(default)
    elif isinstance(default, tuple):
        plausible = isinstance(value, list)
    elif isinstance(default, float):
        plausible = isinstance(value, (int, float))
    else:
        plausible = isinstance(value, int) and (default is None or value <= _MOST * default)
        plausible = plausible and (name != "reduction" or value.bit_count() == 1)
    return value if plausible and builds(spec, {name: value}) else None


def builds(spec: LayerSpec, options: dict[str, Any]) -> bool:
    """Return whether a layer accepts options."""
    width = [_WIDTH] * spec.inputs if spec.inputs > 1 or spec.more_inputs else _WIDTH
    try:
        with torch.device("meta"):
            spec.cls(width, **options)
    except (TypeError, ValueError):
        return False
    return True


def _differing(spec: LayerSpec, *given: dict[str, Any]) -> Iterator[str]:
    """Yield a note on a default that differs from that of many copies, unless the row states the option."""
    option, value = COPIES.get(spec.name, ("", 0))
    if option and not any(option in options for options in given):
        yield f"{option} is {as_yaml(spec.options[option])} as in the paper, {value} in many copies"
