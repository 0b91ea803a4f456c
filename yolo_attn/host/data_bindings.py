"""Names of datasets.yaml, such as `data=digits`, in stock Ultralytics.

Names are resolved when a trainer, validator, exporter or tuner reads its arguments. A stock command does so after
loading the model, so a checkpoint with attention layers, which imports this package, is sufficient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ultralytics.engine import exporter, trainer, tuner, validator

from yolo_attn.host.binding import Binding

__all__ = ["DATASETS"]


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_cfg(*args: Any, **kwargs: Any) -> Any:
        """Read the arguments of a run and resolve the name of its dataset."""
        settings = original(*args, **kwargs)
        data = getattr(settings, "data", None)
        if data:
            from yolo_attn.data.names import known_data

            settings.data = known_data(data, settings.task)
        return settings

    return get_cfg


DATASETS = tuple(Binding(module, "get_cfg", _wrap) for module in (trainer, validator, exporter, tuner))
"""The function that reads arguments, in each module of Ultralytics that imports it."""
