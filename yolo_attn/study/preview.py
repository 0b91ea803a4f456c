"""The lines that a study prints before training: its size, shared initialization, detectable difference and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from yolo_attn.errors import counted
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.groups import find_sequences, group_images
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.earlier import MeasuredNoise
from yolo_attn.study.planning import Plan
from yolo_attn.study.report.formats import points, points_range
from yolo_attn.study.results.notes import crowded_images, frames_hint, too_few_images
from yolo_attn.study.running.progress import clock
from yolo_attn.study.running.run import Run
from yolo_attn.study.sizing import Sizing
from yolo_attn.study.specification.recipe import recipe_max_det
from yolo_attn.study.times import RunSeconds, RunTimes

__all__ = ["SharedCounts", "image_lines", "no_verdict", "preview_lines"]

_SAME_SEED = "the base of the same seed"

SharedCounts = Mapping[str, tuple[int, int] | None]
"""By arm: the base tensors that it shares at initialization, and all base tensors; None if unknown."""


def preview_lines(
    plan: Plan,
    waiting: Sequence[Run],
    later: Sequence[Run] = (),
    *,
    folder: str,
    shared: SharedCounts,
    noise: MeasuredNoise | None,
    times: RunTimes,
    at_once: int,
) -> Iterator[str]:
    """Yield the lines.

    Args:
        plan: The plan.
        waiting: The runs that are trained now.
        later: The runs that are trained too if arms remain undecided.
        folder: The study's folder.
        shared: Base tensors that the arms share at initialization.
        noise: Noise measured in earlier results; None without any.
        times: Times of finished runs.
        at_once: Runs that are trained at once.
    """
    study, total = plan.study, len({run.key for run in plan.every_run})
    least, few = (f"{MIN_SEEDS} to ", f"{total - len(later)} to ") if study.design.max_seeds else ("", "")
    yield (
        f"compare: {counted(len(plan.arms), 'arm')}, {least}{counted(len(study.seeds), 'seed')}, "
        f"{few}{counted(total, 'run')}, {total - len(waiting) - len(later)} of them done; folder {folder}"
    )
    for arm in plan.arms:
        if arm.error:
            yield f"{arm.name}: skipped: {arm.error}"
    yield plan.dataset.summary
    yield from image_lines(plan)
    if plan.bases:
        yield _bases_line(plan, waiting)
    rate = study.design.lr_attention
    if "lr_attention" in study.given and rate != 1 and plan.lr_attention == 1:
        yield f"lr_attention={rate:g} has no effect: no arm has an attention layer"
    source = "the checkpoint" if plan.settings.weights else "the trained base" if plan.bases else _SAME_SEED
    counts = [f"{name} {pair[0]}/{pair[1]}" for name, pair in shared.items() if pair]
    yield f"tensors initialized as in {source}: {', '.join(counts)}"
    if plan.untrained:
        yield from_scratch("arms")
    sizing = Sizing(plan, noise, RunSeconds(plan, times), at_once)
    yield _detectable_line(plan, sizing, noise)
    seconds = sizing.seconds(waiting)
    if seconds:
        most = sizing.seconds([*waiting, *later]) if later else None
        longest = f" to {clock(most)}" if most else ""
        parallel = f", {at_once} runs at a time" if at_once > 1 else ""
        yield f"expected time: {clock(seconds)}{longest}{parallel}"


def _bases_line(plan: Plan, waiting: Sequence[Run]) -> str:
    """Return what is trained before the arms."""
    missing = sum(run in waiting for run in plan.base_runs)
    state = f"{missing} to train" if missing else "done"
    number = counted(len(plan.base_runs), "base")
    own = [name for name in plan.bases if name is not None]
    shared = "it" if len(plan.base_runs) == 1 else "the first" if len(plan.bases[None]) == 1 else "these in turn"
    others = f", but {', '.join(own)} from its own" if own else ""
    epochs = counted(plan.study.design.pretrain, "epoch")
    return f"pretraining: {number}, {epochs} each, {state}; all arms start from {shared}{others}"


def image_lines(plan: Plan) -> Iterator[str]:
    """Yield how the evaluated images are grouped, and reasons to distrust intervals or to expect no verdict."""
    names, rule = plan.dataset.image_names, plan.study.design.groups
    if not names:
        return
    sizes = Counter(group_images(names, rule).tolist()).values()
    if rule is not None:
        yield f"groups={rule}: {counted(len(names), 'image')} in {counted(len(sizes), 'group')} of {_range(sizes)}"
    few = too_few_images(len(sizes), grouped=rule is not None)
    if few:
        yield few
    crowded = crowded_images(plan.dataset.most_objects, recipe_max_det(plan.study.train))
    if crowded:
        yield crowded
    independent = rule is None and not evaluation_of(plan.settings.task).class_folders
    sequences = find_sequences(names) if independent else None
    if sequences:
        yield frames_hint(sequences)


def _range(sizes: Collection[int]) -> str:
    least, most = min(sizes), max(sizes)
    return f"{least} to {most}" if least < most else f"{least}"


def from_scratch(models: str) -> str:
    """Return why models should not be trained from scratch.

    Args:
        models: What they are, such as "arms".
    """
    return (
        f"all {models} are trained from scratch; with pretrain=EPOCHS the base is trained once and all {models} are "
        "fine-tuned from it, which makes their differences many times less noisy"
    )


def no_verdict(seeds: int) -> str:
    """Return that a study with so few seeds has no verdict."""
    return f"{counted(seeds, 'seed')}: no verdict below {MIN_SEEDS}, because an effect cannot be separated from chance"


def _detectable_line(plan: Plan, sizing: Sizing, noise: MeasuredNoise | None) -> str:
    """Return a line with the smallest difference that the study can be expected to detect."""
    seeds = len(plan.study.seeds)
    if seeds < MIN_SEEDS:
        return no_verdict(seeds)
    ends = sizing.detectable(sizing.planned)
    if noise is None or ends is None:
        return f"minimum detectable difference: unknown until {MIN_SEEDS} seeds of a study on this dataset are done"
    tests = f", {plan.tested} variants tested" if plan.tested > 1 else ""
    return (
        f"minimum detectable difference: {points_range(ends)} points of "
        f"{evaluation_of(plan.settings.task).metrics[0]} with {seeds} seeds at 80% power{tests} (noise: training "
        f"{points(noise.noise.training)}, test images {points(noise.noise.images)} points, in {noise})"
    )
