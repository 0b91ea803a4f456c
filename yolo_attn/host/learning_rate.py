"""A learning rate of their own for attention layers: `lr_attention=5` multiplies that of their parameters by five.

New layers in a trained model have to learn more than the rest of it. The parameters of attention layers, in their own
rows and inside blocks, get parameter groups of their own in the optimizer. Warmup and schedule follow, because
Ultralytics scales every group from its initial learning rate, and so does weight decay, because the groups keep all
other settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn, optim
from ultralytics import cfg
from ultralytics.engine import trainer
from ultralytics.utils import LOGGER, RANK

from yolo_attn.errors import UserError
from yolo_attn.host.binding import Binding
from yolo_attn.registry import list_layers

__all__ = ["LEARNING_RATE", "LR_ATTENTION", "read_lr_attention"]

LR_ATTENTION = "lr_attention"
"""The training argument that this module adds to Ultralytics'."""


def read_lr_attention(value: Any) -> float:
    """Return the value of `lr_attention`.

    Raises:
        UserError: It is not a positive number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise UserError(f"{LR_ATTENTION}={value}: must be a number above 0, by which learning rates are multiplied")
    return number


def _wrap_alignment(original: Callable[..., None]) -> Callable[..., None]:
    def check_dict_alignment(base: dict[str, Any], custom: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Check the names of arguments, with the additional one."""
        original({**base, LR_ATTENTION: 1.0}, custom, *args, **kwargs)

    return check_dict_alignment


def _wrap_optimizer(original: Callable[..., Any]) -> Callable[..., Any]:
    def build_optimizer(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the optimizer, with groups for attention layers if they have a learning rate of their own."""
        optimizer = original(self, model, *args, **kwargs)
        stated = getattr(getattr(self, "args", None), LR_ATTENTION, None)
        factor = 1.0 if stated is None else read_lr_attention(stated)
        if factor == 1:
            return optimizer
        attention = {id(parameter) for parameter in _attention_parameters(model)}
        if attention:
            _split_groups(optimizer, attention, factor)
        else:
            delattr(self.args, LR_ATTENTION)  # a checkpoint of a stock model keeps to stock arguments
        if RANK in (-1, 0):
            _log(factor, len(attention))
        return optimizer

    return build_optimizer


LEARNING_RATE = (
    Binding(cfg, "check_dict_alignment", _wrap_alignment),
    Binding(trainer.BaseTrainer, "build_optimizer", _wrap_optimizer),
)
"""The functions of Ultralytics that check the names of arguments and build the optimizer."""


def _attention_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    classes = {spec.cls for spec in list_layers()}
    for module in model.modules():
        if type(module) in classes:
            yield from module.parameters()


def _split_groups(optimizer: optim.Optimizer, chosen: set[int], factor: float) -> None:
    """Move some parameters to groups of their own, which differ in the learning rate alone.

    Args:
        optimizer: The optimizer, before its first step.
        chosen: The parameters, by `id`.
        factor: Multiplies their learning rate.
    """
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if moved:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            optimizer.add_param_group({**group, "params": moved, "lr": group["lr"] * factor})


def _log(factor: float, parameters: int) -> None:
    if parameters:
        LOGGER.info(
            f"yolo-attn: {LR_ATTENTION}={factor:g}: {parameters} tensors of attention layers are trained with "
            f"{factor:g} times the learning rate"
        )
    else:
        LOGGER.warning(
            f"yolo-attn: {LR_ATTENTION}={factor:g} has no effect: the model has no attention layer with parameters"
        )
