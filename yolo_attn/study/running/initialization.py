"""The base tensors that each arm of a study shares at initialization."""

from __future__ import annotations

from yolo_attn.study.specification.arms import Arm

__all__ = ["count_shared_tensors"]


def count_shared_tensors(
    arm: Arm, baseline: Arm, task: str, classes: int, *, pretrained: bool = False
) -> tuple[int, int] | None:
    """Count the tensors of the baseline that an arm shares at initialization.

    Args:
        arm: The arm.
        baseline: The baseline.
        task: The task of the models.
        classes: Number of classes of the dataset.
        pretrained: Whether the arms start from the trained baseline.

    Returns:
        The shared tensors and all tensors of the baseline; None if the arm cannot be built, or starts from a trained
        base of its own.
    """
    from yolo_attn.host.initialization import shared_tensors

    if pretrained and arm.own_base:
        return None
    try:
        return shared_tensors(
            baseline.model, arm.model, task, classes, arm.weights, pretrained=pretrained, seed=arm.seed_offset
        )
    except Exception:
        return None  # the arm's runs fail with the same error and report it
