"""Replacement of one function of Ultralytics."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import ultralytics

__all__ = ["SUPPORTED", "Binding", "UnsupportedHostError"]

SUPPORTED = "8.3.0 to 8.4.x"
"""The Ultralytics versions that this package is tested with."""


class UnsupportedHostError(RuntimeError):
    """The installed Ultralytics is not supported."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"yolo-attn supports Ultralytics {SUPPORTED}; in the installed {ultralytics.__version__}, {what}. "
            f'Install a supported one: pip install "ultralytics>=8.3,<9", or a newer yolo-attn.'
        )


class Binding:
    """A function of Ultralytics and its replacement, which may call the original.

    Args:
        owner: The module or class with the function.
        name: The function's name.
        wrap: Takes the original function and returns the replacement.
    """

    def __init__(self, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self.owner = owner
        self.name = name
        self.wrap = wrap
        self.original: Callable[..., Any] | None = None
        self.replacement: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    @property
    def installed(self) -> bool:
        """Whether Ultralytics calls the replacement."""
        return self.replacement is not None and getattr(self.owner, self.name, None) is self.replacement

    @property
    def problem(self) -> str | None:
        """The parameters of the function that its replacement does not accept, as a message; None without any."""
        if self.original is None or self.replacement is None:
            return None
        accepted = inspect.signature(self.replacement, follow_wrapped=False).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
            return None
        new = [name for name in inspect.signature(self.original).parameters if name not in accepted]
        if not new:
            return None
        return (
            f"{self!r} has new parameters ({', '.join(new)}), which {self.wrap.__module__} does not accept: "
            f"install Ultralytics {SUPPORTED}"
        )

    def install(self) -> None:
        """Replace the function.

        Raises:
            UnsupportedHostError: Ultralytics has no such function.
        """
        if self.installed:
            return
        original = getattr(self.owner, self.name, None)
        if not callable(original):
            raise UnsupportedHostError(f"{self!r}, which {self.wrap.__module__} replaces, is missing")
        self.original = original
        self.replacement = self.wrap(original)
        setattr(self.owner, self.name, self.replacement)

    def remove(self) -> None:
        """Restore the original function."""
        if self.replacement is None:
            return
        if not self.installed:
            raise RuntimeError(f"{self!r} was replaced again by other code; undo that first")
        setattr(self.owner, self.name, self.original)
        self.original = self.replacement = None
