"""The lines that a study prints before training: its size, shared initialization, detectable difference and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from yolo_attn.errors import counted
from yolo_attn.stats.compare import Noise
from yolo_attn.study.planning import Plan
from yolo_attn.study.running.progress import clock
from yolo_attn.study.running.run import Run
from yolo_attn.study.specification.device import first_device
from yolo_attn.study.specification.estimate import detectable_line, guess_run_seconds, study_seconds

__all__ = ["SharedCounts", "preview_lines"]

SharedCounts = Mapping[str, tuple[int, int] | None]
"""By arm: the base tensors that it shares at initialization, and all base tensors; None if unknown."""


def preview_lines(
    plan: Plan,
    waiting: Sequence[Run],
    *,
    folder: str,
    shared: SharedCounts,
    noise: Noise | None,
    known_times: Mapping[str, Sequence[float]],
    at_once: int,
) -> Iterator[str]:
    """Yield the lines.

    Args:
        plan: The plan.
        waiting: The runs that are trained now.
        folder: The study's folder.
        shared: Base tensors that the arms share at initialization.
        noise: Noise measured in earlier results of the study; None without any.
        known_times: Seconds of finished runs by arm.
        at_once: Runs that are trained at once.
    """
    study, total = plan.study, len({run.key for run in plan.runs})
    yield (
        f"compare: {counted(len(plan.arms), 'arm')}, {counted(len(study.seeds), 'seed')}, {counted(total, 'run')}, "
        f"{total - len(waiting)} of them done; folder {folder}"
    )
    for arm in plan.arms:
        if arm.error:
            yield f"{arm.name}: skipped: {arm.error}"
    yield plan.dataset.summary
    source = "the checkpoint" if plan.settings.weights else "the base of the same seed"
    counts = [f"{name} {pair[0]}/{pair[1]}" for name, pair in shared.items() if pair]
    yield f"tensors initialized as in {source}: {', '.join(counts)}"
    variants = sum(arm.kind == "variant" for arm in plan.trainable_arms)
    yield detectable_line(len(study.seeds), variants, noise)
    seconds = _expected_seconds(plan, waiting, known_times)
    if seconds:
        parallel = f", {at_once} runs at a time" if at_once > 1 else ""
        yield f"expected time: {clock(seconds / at_once)}{parallel}"


def _expected_seconds(plan: Plan, waiting: Sequence[Run], known_times: Mapping[str, Sequence[float]]) -> float | None:
    """Return the seconds of the waiting runs one after another, None if unknown."""
    if not waiting:
        return None
    guess = None
    if not known_times and plan.dataset.train_images:
        guess = guess_run_seconds(
            plan.baseline.model,
            plan.settings.task,
            len(plan.dataset.names),
            train_images=plan.dataset.train_images,
            recipe=plan.study.train,
            device=first_device(plan.study.device),
            threads=plan.platform.threads,
        )
    return study_seconds([run.arm.name for run in waiting], known_times, guess)
