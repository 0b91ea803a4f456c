"""The loader with which `import_hook.py` registers the attention layers after a program has imported Ultralytics.

A start-up file contains the source of this module, so it uses nothing else of this package: it has no effect if the
package has been uninstalled, and a program does not stop if the package does not work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from typing import Any

__all__ = ["RegisteringLoader", "find_spec", "register"]


def find_spec(finders: Iterable[Any], *search: Any) -> ModuleSpec | None:
    """Return the first spec that finders find, with a loader that registers the layers.

    Args:
        finders: The finders.
        search: The arguments of their method `find_spec`.
    """
    specs = (finder.find_spec(*search) for finder in finders if hasattr(finder, "find_spec"))
    spec: ModuleSpec | None = next((spec for spec in specs if spec is not None), None)
    if spec is not None and spec.origin is not None:  # a folder without code has no origin
        spec.loader = RegisteringLoader(spec.loader)  # type: ignore[assignment]
    return spec


class RegisteringLoader:
    """A module's loader, which imports `yolo_attn` after the module, and before it gives its place to the original.

    Args:
        original: The loader.
    """

    def __init__(self, original: Any) -> None:
        self.original = original

    def __getattr__(self, name: str) -> Any:
        if name == "original":  # of a copy in the making, which has no attributes yet
            raise AttributeError(name)
        return getattr(self.original, name)

    def exec_module(self, module: Any) -> None:
        """Execute the module with the original loader, which is from now on its only one, and register the layers."""
        module.__spec__.loader = module.__loader__ = self.original
        self.original.exec_module(module)
        register()


def register() -> None:
    """Import `yolo_attn`, which registers the layers; an error is printed in one line and does not stop the program."""
    try:
        import yolo_attn  # noqa: F401
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "yolo_attn":
            return  # it has been uninstalled; pip leaves the start-up file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        text = (
            f"yolo-attn: the attention layers are not registered ({reason}); reinstall yolo-attn, or switch this off: "
        )
        if sys.stderr is not None:
            print(f"{text}remove yolo_attn_startup.pth from site-packages", file=sys.stderr)
