"""Registry of the attention layers: the names that a YAML row may use, with facts about each layer.

Built-in and third-party layers are registered with the decorator `register_layer`:

    @register_layer(family="channel", summary="scales each channel by a learned gate")
    class MyGate(Gate):
        ...

The registry is independent of Ultralytics; `yolo_attn.host` reads it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import nn

from yolo_attn.errors import UserError, counted
from yolo_attn.names.suggestions import option_hint, suggest_layer
from yolo_attn.system.files import EXPONENT

__all__ = ["LayerSpec", "build", "get_layer", "list_layers", "register_layer"]

FAMILIES = ("channel", "spatial", "hybrid", "self_attention", "large_kernel", "fusion", "block", "convolution")

OUT_CHANNELS = "out_channels"
"""The option for a layer's number of output channels, if the layer has one."""

CONV_ARGS = (OUT_CHANNELS, "kernel_size", "stride")
"""The options that a row in the place of `Conv` may give without their names, in the order of Conv's arguments."""

LIST_HINT = "; yolo-attn layers lists the layers, and layers=FILE adds custom ones"
"""Hint for an unknown layer without a similar name."""

_RENAMED = {"start": "init"}  # former names of the options that all layers have

LayerClass = TypeVar("LayerClass", bound=type[nn.Module])


@dataclass(frozen=True, repr=False)
class LayerSpec:
    """One entry of the registry.

    Args:
        name: Name in a YAML row.
        cls: Class of the layer, called as `cls(channels, **options)`.
        family: One of `FAMILIES`.
        summary: Description in one line.
        aliases: Other names, as used in tutorials.
        inputs: Number of input rows, or their least number with `more_inputs`.
        more_inputs: Whether the layer takes any number of inputs from `inputs` on.
        optional_inputs: Number of inputs, of `inputs`, that a row may omit.
        paper: Title and venue.
        year: Year of the paper.
        url: Address of the paper.
        repository: Address of the authors' code.
        cost: Complexity class at channels C and map size HW.
        identity: How `init="identity"` makes the layer the identity before training.
        renamed: Former names of options with the present names, for error messages.
    """

    name: str
    cls: type[nn.Module]
    family: str
    summary: str
    aliases: tuple[str, ...] = ()
    inputs: int = 1
    more_inputs: bool = False
    optional_inputs: int = 0
    paper: str = ""
    year: int | None = None
    url: str = ""
    repository: str = ""
    cost: str = ""
    identity: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.summary}>"  # one line of a list in a notebook

    @property
    def built_in(self) -> bool:
        """Whether the layer is part of this package, not third-party."""
        return self.cls.__module__.startswith("yolo_attn.layers.")

    @property
    def input_count(self) -> str:
        """How many inputs the layer takes: "2", "2 or more" or "2 to 3"."""
        least = f"{self.inputs - self.optional_inputs} to " if self.optional_inputs else ""
        return f"{least}{self.inputs}{' or more' if self.more_inputs else ''}"

    @property
    def options(self) -> dict[str, Any]:
        """The layer's options by name, with their defaults."""
        parameters = inspect.signature(self.cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    @property
    def can_return_levels(self) -> bool:
        """Whether a row of the layer may return a map for each that it reads."""
        return getattr(self.cls, "can_return_levels", False)

    @property
    def replaces_conv(self) -> bool:
        """Whether a row of the layer can take the place of `Conv`: it has a width, a kernel size and a stride."""
        return self.options.keys() >= set(CONV_ARGS)

    def check_options(self, options: Iterable[str]) -> None:
        """Raise UserError if one of these names is not an option of the layer."""
        known = self.options
        for option in options:
            if option not in known:
                takes = f"; it takes {', '.join(known) or 'no options'}"
                hint = self._positional_hint(option) or self.renamed_hint(option) or option_hint(option, known) or takes
                raise UserError(f"{self.name} has no option {option!r}{hint}")

    def _positional_hint(self, option: str) -> str:
        """Return the end of a message about an option that a custom layer takes by its position, else ""."""
        others = list(inspect.signature(self.cls).parameters)[1:]
        if self.built_in or option not in others:
            return ""
        return f": options are keyword-only; write * before {option} in {self.cls.__name__}.__init__"

    def renamed_hint(self, option: str) -> str:
        """Return the end of a message about an unknown option: the present name if this is a former one, else ""."""
        present = {**_RENAMED, **self.renamed}.get(option)
        return f"; it is now called {present!r}" if present in self.options else ""

    def read_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options from a YAML file, with strings such as 1e-4 as numbers where no string is expected.

        Raises:
            UserError: One of the names is not an option of the layer.
        """
        self.check_options(options)
        known = self.options
        return {
            key: float(value)
            if isinstance(value, str) and EXPONENT.fullmatch(value) and not isinstance(known[key], str)
            else value
            for key, value in options.items()
        }


_specs: dict[str, LayerSpec] = {}
_names: dict[str, str] = {}  # every name and alias -> canonical name
_reserved: list[Callable[[str], bool]] = []
_listeners: list[Callable[[], None]] = []


def register_layer(
    *,
    family: str,
    summary: str,
    name: str | None = None,
    aliases: tuple[str, ...] = (),
    inputs: int = 1,
    more_inputs: bool = False,
    optional_inputs: int = 0,
    paper: str = "",
    year: int | None = None,
    url: str = "",
    repository: str = "",
    cost: str = "",
    identity: str = "residual gamma",
    renamed: Mapping[str, str] | None = None,
) -> Callable[[LayerClass], LayerClass]:
    """Return a class decorator that registers a layer for model YAMLs.

    The class takes its input channels as the positional argument (a list for several inputs) and its options by
    keyword. The arguments are the fields of `LayerSpec`; `name` defaults to the class name.

    A class with the file (or, in a notebook, module) and qualified name of a registered class replaces it, for example
    when a notebook cell runs again or a module is reloaded.

    Raises:
        ValueError: A layer defined elsewhere, or the Ultralytics parser, uses the name or an alias.
    """

    def decorate(cls: LayerClass) -> LayerClass:
        spec = LayerSpec(
            name=name or cls.__name__,
            cls=cls,
            family=family,
            summary=summary,
            aliases=aliases,
            inputs=inputs,
            more_inputs=more_inputs,
            optional_inputs=optional_inputs,
            paper=paper,
            year=year,
            url=url,
            repository=repository,
            cost=cost,
            identity=identity,
            renamed=renamed or {},
        )
        _check_new(spec)
        for earlier in {_names[word] for word in (spec.name, *spec.aliases) if word in _names}:
            unregister_layer(earlier)
        _specs[spec.name] = spec
        _names.update(dict.fromkeys((spec.name, *spec.aliases), spec.name))
        for listener in _listeners:
            listener()
        return cls

    return decorate


def _check_new(spec: LayerSpec) -> None:
    """Raise ValueError unless the entry can be added."""
    if spec.family not in FAMILIES:
        raise ValueError(f"{spec.name}: unknown family {spec.family!r}; use one of {', '.join(FAMILIES)}")
    for word in (spec.name, *spec.aliases):
        taken = _specs[_names[word]].cls if word in _names else None
        if taken is not None and _origin(taken) != _origin(spec.cls):
            raise ValueError(
                f"{full_name(spec.cls)}: the layer name {word!r} is taken by {full_name(taken)}; choose another"
            )
        check_name(word)


def _origin(cls: type) -> tuple[str, str]:
    """Return the file and qualified name of a class; a script has the modules `__main__` and that of its name."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return os.path.realpath(file) if file else cls.__module__, cls.__qualname__


def full_name(cls: type) -> str:
    """Return a class's module and qualified name, as used by pickle."""
    return f"{cls.__module__}.{cls.__qualname__}"


def check_name(word: str) -> None:
    """Raise ValueError if a name is invalid in a YAML row or reserved by the host."""
    if not word.isidentifier():
        raise ValueError(f"{word!r} cannot name a layer; use letters, digits and underscores")
    if any(taken(word) for taken in _reserved):
        raise ValueError(f"the layer name {word!r} is reserved by the Ultralytics parser; choose another")


def reserve_names(taken: Callable[[str], bool]) -> None:
    """Reject names for which `taken` returns True, for present and future layers.

    Raises:
        ValueError: A registered layer has such a name.
    """
    _reserved.append(taken)
    for word in _names:
        check_name(word)


def release_names(taken: Callable[[str], bool]) -> None:
    """Undo `reserve_names`."""
    if taken in _reserved:
        _reserved.remove(taken)


def on_change(listener: Callable[[], None]) -> None:
    """Call a function after each future registration, until `off_change`."""
    if listener not in _listeners:
        _listeners.append(listener)


def off_change(listener: Callable[[], None]) -> None:
    """Undo `on_change`."""
    if listener in _listeners:
        _listeners.remove(listener)


def unregister_layer(name: str) -> None:
    """Remove a layer and its aliases from the registry."""
    spec = get_layer(name)
    del _specs[spec.name]
    for word in (spec.name, *spec.aliases):
        del _names[word]


def is_layer(name: str) -> bool:
    """Return whether a registered layer has a name or alias."""
    return name in _names


def get_layer(name: str) -> LayerSpec:
    """Return the entry of a layer by its name or an alias.

    Raises:
        UserError: No layer has this name; the message suggests a similar one, if any.
    """
    if name not in _names:
        raise UserError(f"unknown layer {name!r}{layer_hint(name)}")
    return _specs[_names[name]]


def in_any_case(name: str) -> str:
    """Return the name or alias that equals a word except for case, or the word itself for none or several layers."""
    same = _in_other_case(name)
    return next(iter(same.values())) if name not in _names and len(same) == 1 else name


def _in_other_case(name: str) -> dict[str, str]:
    """Return the layers with a name or alias that equals a word except for case, and that name."""
    return {_names[known]: known for known in reversed(_names) if known.casefold() == name.casefold()}


def case_hint(name: str) -> str:
    """Return a hint for a name that equals those of several layers except for case, else ""."""
    same = _in_other_case(name)
    return f"; did you mean {' or '.join(sorted(same.values()))}?" if len(same) > 1 else ""


def layer_hint(name: str) -> str:
    """Return the end of a message about an unknown layer: a similar name, or how to list the layers."""
    meant = suggest_layer(name, _names)
    return case_hint(name) or (f"; did you mean {meant}?" if meant else LIST_HINT)


def list_layers(pattern: str = "*", *, family: str | None = None) -> list[LayerSpec]:
    """Return the registered layers, sorted by family and name.

    Args:
        pattern: A shell pattern for the canonical name, such as "C*".
        family: Only layers of this family; None for all.
    """
    chosen = [s for s in _specs.values() if fnmatchcase(s.name, pattern) and family in (None, s.family)]
    return sorted(chosen, key=lambda s: (FAMILIES.index(s.family), s.name.casefold()))


def layer_names() -> dict[str, str]:
    """Return every name and alias for YAML rows, each with the canonical name of its layer."""
    return dict(sorted(_names.items()))


def build(name: str, channels: int | list[int], **options: Any) -> nn.Module:
    """Build a layer by name.

    Args:
        name: A layer's name or alias.
        channels: Channels of its input, or a list for a layer of several inputs.
        options: The layer's options by name.

    Raises:
        UserError: The layer or an option is unknown, the number of inputs is wrong, or a value is invalid.
    """
    spec = get_layer(name)
    spec.check_options(options)
    check_inputs(spec, 1 if isinstance(channels, int) else len(channels))
    try:
        return spec.cls(channels, **options)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error


def check_inputs(spec: LayerSpec, given: int) -> None:
    """Raise UserError if a layer does not take this number of inputs."""
    least = spec.inputs - spec.optional_inputs
    if given >= least and (given <= spec.inputs or spec.more_inputs):
        return
    between = f"{least} to " if spec.optional_inputs else "at least " if spec.more_inputs else ""
    raise UserError(f"{spec.name} reads {between}{counted(spec.inputs, 'input')}, not {given}")
