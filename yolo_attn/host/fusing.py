"""`model.fuse()`, which Ultralytics calls before inference and export, also in attention layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ultralytics.nn import tasks

from yolo_attn.host.binding import Binding
from yolo_attn.layers.folding import fold_norms
from yolo_attn.registry import list_layers

__all__ = ["FUSING"]


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Fold batch norms, those of this package's layers before the summary of the model is printed."""
        layers = {spec.cls for spec in list_layers() if spec.built_in}
        for module in self.modules():
            if type(module) in layers:  # not of others, nor of subclasses: see `fold_norms`
                fold_norms(module)
        return original(self, *args, **kwargs)

    return fuse


FUSING = Binding(tasks.BaseModel, "fuse", _wrap)
"""The method that folds batch norms."""
