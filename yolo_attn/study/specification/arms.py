"""The arms of a study: its baseline, variants and controls, each with the model YAML that it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from yolo_attn.errors import RowError, UserError, one_line
from yolo_attn.graph import ModelKind, ModelRef
from yolo_attn.study.specification.controls import CONTROLS
from yolo_attn.study.specification.study import Study

__all__ = ["Arm", "build_arms"]

_DEFAULT_CLASSES = 80


@dataclass(frozen=True)
class Arm:
    """One line of a study.

    Args:
        name: Its name in the report.
        kind: "baseline", "variant" or "control".
        model: The model YAML; empty when the model cannot be built.
        weights: The checkpoint that training starts from; None without one.
        error: Why the model cannot be built.
        seed_offset: Added to the study's seeds in its runs.
        own_base: Whether it needs a trained base of its own, where the others start from the trained baseline.
    """

    name: str
    kind: str
    model: Mapping[str, object] = field(default_factory=dict)
    weights: Path | None = None
    error: str | None = None
    seed_offset: int = 0
    own_base: bool = False


def build_arms(study: Study) -> list[Arm]:
    """Return the baseline, the variants and the controls of a study, in the order of the report.

    A model that cannot be read or built becomes an arm with an error, which the report shows; the other arms are
    trained.

    Raises:
        UserError: The base or a placement does not exist, the installed Ultralytics lacks the base's task, or two arms
            have the same name.
    """
    from yolo_attn.host.checkpoint import download_checkpoint
    from yolo_attn.host.documents import model_yaml
    from yolo_attn.host.model_kind import task_of

    base = ModelRef.parse(study.base)
    weights = download_checkpoint(base.base) if study.is_checkpoint else None
    baseline = Arm(base.stem, "baseline", _without_path(model_yaml(base)), weights)
    task_of(baseline.model)  # a missing task is reported as such, and not as an unknown layer
    variants = [_make_variant(study.base, text, weights) for text in study.variants]
    controls = [_make_control(name, baseline, variants) for name in study.controls]
    arms = [baseline, *variants, *controls]
    _check_names([arm.name for arm in arms])
    return arms


def _make_variant(base: str, text: str, weights: Path | None) -> Arm:
    """Return a variant's arm, with an error if its model cannot be built."""
    from yolo_attn.host.documents import make_variant
    from yolo_attn.host.model_files import find_model_yaml

    ref = ModelRef.parse(text)
    is_file = ref.kind is ModelKind.YAML and not ref.is_placed
    try:
        variant = make_variant(base, text)
        problem = _build_error(_without_path(variant.yaml))
    except Exception as error:
        if isinstance(error, UserError) and not is_file:
            raise
        if is_file:
            find_model_yaml(text)  # a missing file is a typo and stops the study
        return Arm(ref.stem if is_file else text, "variant", weights=weights, error=one_line(error))
    if problem:
        return Arm(variant.name, "variant", weights=weights, error=problem)
    return Arm(variant.name, "variant", _without_path(variant.yaml), weights)


def _build_error(model: Mapping[str, object]) -> str | None:
    """Return why a model cannot be built, None if it can."""
    from yolo_attn.host.geometry import row_strides
    from yolo_attn.host.initialization import build_model
    from yolo_attn.host.model_kind import task_of

    try:
        row_strides(dict(model))
    except Exception as first:  # fast, but some layers cannot be built on the meta device
        try:
            classes = model.get("nc")
            build_model(model, task_of(model), classes if isinstance(classes, int) else _DEFAULT_CLASSES)
        except Exception as error:
            return one_line(first if isinstance(first, RowError) else error)
    return None


def _make_control(name: str, baseline: Arm, variants: Sequence[Arm]) -> Arm:
    """Return a control's arm, with an error if its model cannot be built."""
    control, models = CONTROLS[name], [arm.model for arm in variants if arm.model]
    arm = Arm(name, "control", weights=baseline.weights, seed_offset=control.seed_offset, own_base=control.own_base)
    if control.own_base and baseline.weights:
        return replace(
            arm, error=f"{baseline.weights.name} has no weights for it; give a model YAML as base=, and pretrain=EPOCHS"
        )
    try:
        return replace(arm, model=control.build(baseline.model, models))
    except Exception as error:
        return replace(arm, error=one_line(error))


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"variants: two arms have the name {name}; rename one of the files")


def _without_path(model: Mapping[str, object]) -> dict[str, object]:
    """Return a model YAML without the path it was read from: equal models have equal keys."""
    return {key: value for key, value in model.items() if key != "yaml_file"}
