"""Notes of the report: how to read the results, the answer, and deviations from the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

from yolo_attn.errors import counted
from yolo_attn.stats.verdicts import ALPHA
from yolo_attn.study.report.formats import enumerated, percent, points, points_range, signed, size, typeset
from yolo_attn.study.report.pairs import families
from yolo_attn.study.results.judging import arms_of_one_own_base, is_overruled, more_failures
from yolo_attn.study.results.records import MIN_SEEDS, ArmSummary, RunSummary, StudyResults

__all__ = ["answer", "collapses", "conditions", "deviations", "reading_notes", "units_note", "warnings"]

# --- how to read the results ----------------------------------------------------------------------------------------


def reading_notes(study: StudyResults) -> list[str]:
    """Return what the intervals mean, what this study can detect, and what its verdicts are conditional on."""
    return [*_few_seeds(study), *_levels(study), *_verdict_notes(study), *study.notes]


def units_note(study: StudyResults) -> str:
    """Return the units and columns of the table that the terminal, Markdown and LaTeX share."""
    intervals = any(arm.metric().half is not None for arm in study.arms)
    half = ", mean ± half of its 95% interval" if intervals else ""
    return f"Metrics in points{half}, of last.pt. vs base: difference in {study.main} over common seeds."


def _few_seeds(study: StudyResults) -> list[str]:
    """Return that there are too few seeds for a verdict, if so."""
    done = max(len(arm.done) for arm in study.arms)
    if study.unfinished or not 0 < done < MIN_SEEDS:
        return []
    if done == 1:
        return ["Single runs: differences of this size are usually noise. Use more seeds, such as seeds=3."]
    return [f"{counted(done, 'seed')}: too few for a verdict. Use more, such as seeds=3."]


def _verdict_notes(study: StudyResults) -> list[str]:
    if not any(arm.verdict for arm in study.others):
        return []
    return [_rule(study), *_detectable(study), *conditions(study), *_own_bases(study)]


def _levels(study: StudyResults) -> list[str]:
    """Return what the levels of the intervals mean."""
    levels = sorted({level for arm in study.variants if (level := arm.difference().level) is not None})
    together = [f"all {len(study.variants)} variants"] if len(study.variants) > 1 else []
    together += ["all looks"] if study.info.max_seeds else []
    if not levels or not together:
        return []
    shown = " to ".join(dict.fromkeys(map(percent, (levels[0], levels[-1]))))
    controls = any(arm.kind == "control" and arm.difference().level for arm in study.arms)
    by_itself = f"; a control's holds by itself with {percent(1 - ALPHA)}" if controls else ""
    return [
        f"Intervals of differences are those of the verdicts: {shown} for each variant, {percent(1 - ALPHA)} for "
        f"{' and '.join(together)} together{by_itself}."
    ]


def _rule(study: StudyResults) -> str:
    margin = size(study.info.margin)
    no_worse = f", no worse if it is above -{margin} points" if study.info.no_worse else ""
    return (
        f"Verdict: equivalent if the interval is within ±{margin} points, else better or worse if it excludes 0"
        f"{no_worse}; inconclusive does not mean equal."
    )


def _detectable(study: StudyResults) -> list[str]:
    if not study.detectable_range or not study.minimum_detectable.get(study.main):
        return []
    seeds = f" with up to {study.info.max_seeds} seeds" if study.info.max_seeds else ""
    return [
        f"Detectable: a true difference of {points_range(study.detectable_range)} points in one variant with a "
        f"probability of 80%{seeds} (90% interval; estimated from the noise of this study)."
    ]


def conditions(study: StudyResults) -> list[str]:
    """Return what the verdicts are conditional on: the checkpoint or checkpoints, or training from scratch."""
    info = study.info
    also = "this recipe and these data"
    if info.pretrain and study.has_several_bases:
        spread = f"such as these {len(study.common_bases)} (their spread is part of the intervals)"
        return [f"The verdicts apply to fine-tuning from bases {spread}, {also}."]
    if info.pretrain:
        return [
            f"The verdicts apply to fine-tuning from this one base, {also}; another base of the same recipe can give "
            "others, whose spread bases=3 includes."
        ]
    if info.untrained:
        return [f"The verdicts apply to training from scratch, {also}; they can change with pretrained weights."]
    return [f"The verdicts apply to fine-tuning from {info.weights or info.recipe.get('pretrained')}, {also}."]


def _own_bases(study: StudyResults) -> list[str]:
    """Return which arms start from a base of their own, whose luck is not part of any interval."""
    own = arms_of_one_own_base(base.arm for base in study.bases)
    if not own:
        return []
    return [
        f"{enumerated(own)} has a trained base of its own, because its tensors have other shapes. Differences to it "
        "contain the luck of both trainings, which their intervals do not cover, so they have no verdict; with bases=3 "
        "they do."
    ]


def collapses(study: StudyResults) -> str | None:
    """Return which rates of failing runs are excluded where none has failed; None if any has, or without a verdict."""
    arms = [arm for arm in study.variants if arm.verdict]
    if not arms or any(arm.failed or arm.unlearned for arm in study.variants):
        return None
    runs = min(len(arm.done) for arm in arms)
    rate = 1 - ALPHA ** (1 / runs)
    return (
        f"No run of a variant has failed or learned nothing. {counted(runs, 'run')} of an arm exclude only that this "
        f"happens in more than {rate:.0%} of its runs ({percent(1 - ALPHA)} confidence)."
    )


# --- the answer -----------------------------------------------------------------------------------------------------


def answer(study: StudyResults) -> str:
    """Return the conclusion about the variants in a few sentences."""
    if not study.variants:
        return "There is no variant to compare."
    interim = [f"Interim results: {_finished(study)}."] if study.unfinished else []
    if study.unfinished and not study.info.max_seeds:
        return f"{interim[0]} Verdicts follow when all runs are finished."
    return " ".join([*interim, *_verdict_sentences(study), *_size_sentence(study), *_few_seeds(study)])


def _verdict_sentences(study: StudyResults) -> list[str]:
    margin = size(study.info.margin)
    titles = {
        "better": "Better than the baseline",
        "worse": "Worse than the baseline",
        "equivalent": f"Equivalent to the baseline within ±{margin} points",
        "no worse": f"Not worse than the baseline by {margin} points",
        "inconclusive": "Inconclusive",
    }
    without = [arm for arm in study.variants if arm.verdict is None]
    untrained = [arm for arm in without if arm.learnt is False and study.baseline.learnt is False]
    others = [arm for arm in without if arm not in untrained]
    groups = [
        *((title, [arm for arm in study.variants if arm.verdict == name]) for name, title in titles.items()),
        ("No verdict, because nothing was learned", untrained),
        ("Not decided yet" if study.unfinished else "No verdict", others),
    ]
    return [f"{title}: {_listed(arms)}." for title, arms in groups if arms]


def _size_sentence(study: StudyResults) -> list[str]:
    """Return whether the variants that are better than the baseline are also better than the width control."""
    better = {arm.name for arm in study.variants if arm.verdict == "better"}
    to_width = [pair for family in families(study) if family.to_width for pair in family.pairs]
    pairs = [pair for pair in to_width if pair.arm in better and pair.verdict]
    found = [f"{pair.arm} {pair.verdict} ({typeset(signed(pair.difference.mean))})" for pair in pairs]
    return [f"Compared with the width control: {enumerated(found)}."] if found else []


def _listed(arms: Sequence[ArmSummary]) -> str:
    return enumerated(
        [f"{arm.name} ({typeset(signed(arm.difference().mean))})" if arm.decided else arm.name for arm in arms]
    )


# --- deviations from the plan ---------------------------------------------------------------------------------------


def warnings(study: StudyResults) -> list[str]:
    """Return that the results are interim, if they are, and all deviations from the plan."""
    interim = []
    if study.unfinished:
        follow = "undecided arms get more seeds" if study.info.max_seeds else "verdicts follow when all are"
        interim.append(f"Interim: {_finished(study)}; {follow}.")
    return [*interim, *deviations(study)]


def deviations(study: StudyResults) -> list[str]:
    """Return deviations from the plan and inequalities between the arms."""
    return [
        *_not_learned(study),
        *_lagging(study),
        *_base_failures(study),
        *_failures(study),
        *_overruled(study),
        *_unequal_epochs(study),
        *_unequal_gpus(study),
        *_unequal_precision(study),
        *_transfer(study),
    ]


def _not_learned(study: StudyResults) -> list[str]:
    """Return the runs that have not learned, with the main metric that they reach by chance."""
    found = [(arm, [run for run in arm.done if run.learnt is False]) for arm in study.arms]
    if not any(runs for _, runs in found):
        return []
    names = "; ".join(f"{arm.name} ({_seeds_and_chance(arm, runs)})" for arm, runs in found if runs)
    everywhere = all(len(runs) == len(arm.done) for arm, runs in found)
    return [
        f"{'Nothing was learned' if everywhere else 'Not learned'}: {names}. The predictions of these runs fit the "
        f"labels of other images as well as those of their own.{' There are therefore no verdicts.' * everywhere} "
        "Train longer, or check the learning rate, the labels and the initial weights."
    ]


def _lagging(study: StudyResults) -> list[str]:
    """Return the runs whose running statistics lag behind their weights, and how to avoid it."""
    found = [(arm, [run for run in arm.done if run.lags]) for arm in study.arms]
    names = "; ".join(f"{arm.name} ({_seeds_and_lag(arm, runs)})" for arm, runs in found if runs)
    if not names:
        return []
    rate = study.info.lr_attention
    smaller = f"a smaller learning rate of the layers than lr_attention={rate:g}" if rate else "a smaller learning rate"
    return [
        f"Batch norms lag: {names}. Their running means are that far from the means of these images, so these runs can "
        f"be worse in evaluation than in training. Use {smaller}, or train longer."
    ]


def _seeds_and_lag(arm: ArmSummary, runs: Sequence[RunSummary]) -> str:
    """Return the seeds of runs, with the largest lag."""
    largest = max(run.norm_lag or 0 for run in runs)
    return f"{_seeds(arm, runs)}: up to {largest:,.1f} standard deviations"


def _seeds(arm: ArmSummary, runs: Sequence[RunSummary]) -> str:
    whole = len(runs) == len(arm.done) > 1
    return "all seeds" if whole else f"seed {', '.join(str(run.seed) for run in runs)}"


def _seeds_and_chance(arm: ArmSummary, runs: Sequence[RunSummary]) -> str:
    """Return the seeds of runs, with their main metric and what chance reaches."""
    seeds = _seeds(arm, runs)
    values = [value for run in runs if (value := run.metrics.get(arm.main)) is not None]
    chance = [run.chance for run in runs if run.chance is not None]
    if not values or not chance:
        return seeds
    return f"{seeds}: {arm.main} {points(fmean(values))}, by chance {points(fmean(chance))}"


def _base_failures(study: StudyResults) -> list[str]:
    return [
        f"base{f' of {base.arm}' if base.arm else ''}, seed {base.seed}: {base.status}: {base.error}"
        for base in study.bases
        if base.error
    ]


def _overruled(study: StudyResults) -> list[str]:
    """Return the arms that are inconclusive because more of their runs failed than of the baseline's, or fewer."""
    base = f"the baseline ({_failed_count(study.baseline)})"
    arms = [arm for arm in study.others if is_overruled(arm, study.info)]
    more = [arm for arm in arms if more_failures(arm.runs, study.baseline.runs) > 0]
    fewer = [arm for arm in arms if arm not in more]
    usual = "A failed run is worse than any other, so the remaining runs show nothing"
    return [
        f"{start} {enumerated([f'{arm.name} ({_failed_count(arm)})' for arm in found])}. {usual} {what} about an arm; "
        "its verdict is inconclusive."
        for found, start, what in (
            (more, f"More runs than of {base} failed of", "good"),
            (fewer, f"More runs of {base} failed than of", "bad"),
        )
        if found
    ]


def _failed_count(arm: ArmSummary) -> str:
    return f"{len(arm.failed)} of {len(arm.runs)}"


def _failures(study: StudyResults) -> list[str]:
    seeds: dict[tuple[str, str, str | None], list[int]] = {}
    for arm, run in study.undone:
        seeds.setdefault((arm.name, run.status, run.error), []).append(run.seed)
    return [_failure(*outcome, which) for outcome, which in seeds.items()]


def _failure(name: str, status: str, error: str | None, seeds: Sequence[int]) -> str:
    of = "seed" if len(seeds) == 1 else "seeds"
    return f"{name}, {of} {', '.join(map(str, seeds))}: {status}{f': {error}' if error else ''}"


def _finished(study: StudyResults) -> str:
    return f"{study.total - study.unfinished} of {counted(study.total, 'run')} finished"


def _unequal_epochs(study: StudyResults) -> list[str]:
    trained = [(arm.name, run.epochs) for arm in study.arms for run in arm.done if run.epochs is not None]
    usual, _ = Counter(epochs for _, epochs in trained).most_common(1)[0] if trained else (0, 0)
    others: dict[str, set[int]] = {}
    for name, epochs in trained:
        if epochs != usual:
            others.setdefault(name, set()).add(epochs)
    lines = [f"{name} has runs of {' and '.join(map(str, sorted(epochs)))} epochs" for name, epochs in others.items()]
    return [f"Unequal training: {'; '.join(lines)}; all others have {usual}."] if lines else []


def _unequal_gpus(study: StudyResults) -> list[str]:
    """Return the runs of each GPU, if there are several kinds of it."""
    if len(study.gpus) < 2:  # noqa: PLR2004
        return []
    names = "; ".join(f"{gpu}: {_runs_with(study, lambda run: run.gpu, gpu)}" for gpu in study.gpus)
    return [
        f"Different GPUs: {names}. Times of these runs are not comparable, and their results differ a little for this "
        "reason alone."
    ]


def _unequal_precision(study: StudyResults) -> list[str]:
    """Return the runs without mixed precision, if others have it."""
    if not {True, False} <= {run.amp for arm in study.arms for run in arm.done}:
        return []
    return [
        f"Unequal precision: {_runs_with(study, lambda run: run.amp, False)} without mixed precision, which "
        "Ultralytics switches off on a GPU that fails its check; all others with it. Give amp=False for one precision."
    ]


def _runs_with(study: StudyResults, key: Callable[[RunSummary], object], value: object) -> str:
    """Return the done runs with a value, by arm."""
    found = [(arm, [run for run in arm.done if key(run) == value]) for arm in study.arms]
    return ", ".join(f"{arm.name} ({_seeds(arm, runs)})" for arm, runs in found if runs)


def _transfer(study: StudyResults) -> list[str]:
    arms: dict[tuple[int, int], list[str]] = {}
    for arm in study.arms:
        if arm.transferred and arm.transferred[0] < arm.transferred[1]:
            arms.setdefault(arm.transferred, []).append(arm.name)
    rest = "separately" if study.info.untrained else "randomly"
    return [
        f"{'All arms' if len(names) == len(study.arms) else ', '.join(names)}: {shared} of {total} tensors of the base "
        f"({100 * shared / total:.0f}%) have the base's initial weights; the rest are initialized {rest}."
        for (shared, total), names in arms.items()
    ]
