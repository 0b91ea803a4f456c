"""`data=digits` in stock Ultralytics: the names of datasets.yaml wherever it reads the arguments of a run.

Names are resolved where a trainer, validator, exporter or tuner takes its arguments. In a stock command that is after
the model was loaded, so a checkpoint with layers of ours, which imports us, is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ultralytics.engine import exporter, trainer, tuner, validator

from yolo_attn.host.binding import Binding

__all__ = ["DATASETS"]


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_cfg(*args: Any, **kwargs: Any) -> Any:
        """Read the arguments of a run, and resolve the name of its dataset."""
        settings = original(*args, **kwargs)
        data = getattr(settings, "data", None)
        if data:
            from yolo_attn.data.names import known_data

            settings.data = known_data(data, settings.task)
        return settings

    return get_cfg


DATASETS = tuple(Binding(module, "get_cfg", _wrap) for module in (trainer, validator, exporter, tuner))
"""The function under the name that each module of the host has it by."""
