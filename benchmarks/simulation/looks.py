"""Studies that add seeds until their arms are decided, against studies with a fixed number of seeds.

The units are points of mAP50-95; an interval inside ±margin is "equivalent".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .components import Studies
from .reference import Floats, levels, spent

FIRST, LARGEST, MARGIN, IMAGES = 3, 12, 0.5, 500
LOOKS = range(FIRST, LARGEST + 1)
INCONCLUSIVE, BETTER, WORSE, EQUIVALENT = 0, 1, -1, 2
NAMES = {INCONCLUSIVE: "inconclusive", BETTER: "better", WORSE: "worse", EQUIVALENT: "equivalent"}
ALPHA = 0.05

Verdicts = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Arms with their noise and true differences, one of which is drawn for each study.

    Args:
        noise: Standard deviation of one run's difference, of each variant.
        differences: Possible true differences of each variant.
        baseline: Standard deviation of a baseline's run.
        image: Standard error due to the images.
        control: Noise and possible differences of the width control.
    """

    noise: tuple[float, ...]
    differences: tuple[tuple[float, ...], ...]
    baseline: float
    image: float
    control: tuple[float, tuple[float, ...]]


CLEAR, MIXED = (0.0, 1.0), (0.0, 0.25, 0.5, 1.0)
PLANS: Mapping[str, Plan] = {
    "tight arms and one published initialization, clear": Plan(
        (0.12, 0.12, 0.3, 0.67), (CLEAR, CLEAR, CLEAR, (-3.0, -1.5)), 0.08, 0.03, (0.3, CLEAR)
    ),
    "unequal noise": Plan((0.1, 0.15, 0.2, 0.3), (MIXED,) * 4, 0.07, 0.03, (0.2, (0.0, 0.5, 1.0))),
    "equal noise": Plan((0.2,) * 4, (MIXED,) * 4, 0.12, 0.03, (0.2, (0.0, 0.5, 1.0))),
    "equal noise, image noise 0.1": Plan((0.2,) * 4, (MIXED,) * 4, 0.12, 0.1, (0.2, (0.0, 0.5, 1.0))),
    "one arm far noisier": Plan((0.1, 0.2, 0.3, 0.6), (CLEAR,) * 4, 0.07, 0.03, (0.2, CLEAR)),
    "every arm noisy": Plan((0.3,) * 4, (MIXED,) * 4, 0.2, 0.03, (0.3, (0.0, 0.5, 1.0))),
}


def read(interval: tuple[Floats, Floats], margin: float = MARGIN) -> Verdicts:
    """Return the verdicts of intervals."""
    low, high = interval
    found = np.where(low > 0, BETTER, np.where(high < 0, WORSE, INCONCLUSIVE))
    return np.where((low > -margin) & (high < margin), EQUIVALENT, found)


@dataclass(frozen=True)
class Rule:
    """How intervals allow for looks.

    Args:
        level: Level of all looks together.
        levels: Level of each look.
        training_only: Looks widen the training part only: the images are the same at each look.
    """

    level: float
    levels: Sequence[float]
    training_only: bool

    def verdicts(self, studies: Studies, seeds: int, margin: float = MARGIN) -> Verdicts:
        """Return the verdicts of one look."""
        mine = self.levels[seeds - FIRST]
        if mine <= 0:
            return np.zeros(studies.images.shape, np.int64)
        if self.training_only:
            wide, usual = (special.stdtrit(seeds - 1, level / 2) for level in (mine, self.level))
            half = studies.half_widths(seeds, self.level, max(1.0, float(wide / usual) ** 2))
        else:
            half = studies.half_widths(seeds, mine)
        means = studies.means(seeds)
        return read((means - half, means + half), margin)


def power_rule(level: float, power: float, *, training_only: bool = True) -> Rule:
    """Return the rule that spends level (n / LARGEST)^power."""
    return Rule(level, levels(LOOKS, spent(LOOKS, LARGEST, level, power)), training_only)


def bonferroni_rule(level: float) -> Rule:
    """Return the rule that divides the level by the number of looks."""
    return Rule(level, [level / len(LOOKS)] * len(LOOKS), training_only=True)


def e_rule(level: float, variance: float = 10.0) -> Rule:
    """Return the rule of the e-process of a t test with a normal prior on mean over standard deviation.

    Its value is sqrt(1 / (1 + n g)) ((1 + t²/(n - 1)) / (1 + t²/((1 + n g)(n - 1))))^(n/2) (Wang and Ramdas 2024); it
    exceeds 1 / level at any time with a probability of at most the level.
    """
    found = []
    for seeds in LOOKS:
        scale = 1 + seeds * variance
        ratio = (np.sqrt(scale) / level) ** (2 / seeds)  # that the power must exceed
        if ratio >= scale:
            found.append(0.0)
            continue
        t = np.sqrt((seeds - 1) * (ratio - 1) / (1 - ratio / scale))
        found.append(float(2 * special.stdtr(seeds - 1, -t)))
    return Rule(level, found, training_only=True)


def studies_of(plan: Plan, rng: np.random.Generator, studies: int) -> tuple[Studies, Floats]:
    """Return studies of the variants and the width control (last), with their true differences [S, K + 1]."""
    noise = np.array([*plan.noise, plan.control[0]])
    truth = np.stack([rng.choice(some, studies) for some in (*plan.differences, plan.control[1])], axis=1)
    own = np.sqrt(np.maximum(noise**2 - plan.baseline**2, 0.0))[:, None]
    runs = rng.standard_normal((studies, len(noise) + 1, LARGEST))
    arms = rng.standard_normal((studies, len(noise) + 1)) * plan.image / 2**0.5
    shift = truth + arms[:, 1:] - arms[:, :1]
    images = plan.image**2 * rng.chisquare(IMAGES - 1, shift.shape) / (IMAGES - 1)
    return Studies(own * runs[:, 1:] - plan.baseline * runs[:, :1] + shift[:, :, None], images, IMAGES), truth


def part(studies: Studies, columns: slice) -> Studies:
    """Return some arms."""
    return Studies(studies.differences[:, columns], studies.images[:, columns], studies.count)


def follow(studies: Studies, rule: Rule, least: float = 0.0) -> tuple[Verdicts, Verdicts]:
    """Return the verdict of each arm and the seeds that it has used.

    Args:
        studies: Studies with `LARGEST` seeds.
        rule: Rule of the looks.
        least: Arms whose probability of a verdict at `LARGEST` seeds falls below it stop, inconclusive.
    """
    shape = studies.images.shape
    verdicts, used, undecided = np.zeros(shape, np.int64), np.full(shape, LARGEST), np.ones(shape, np.bool_)
    for seeds in LOOKS:
        found = rule.verdicts(studies, seeds)
        verdicts = np.where(undecided, found, verdicts)
        ended = undecided & (found != INCONCLUSIVE)
        if least and FIRST < seeds < LARGEST:
            ended |= undecided & (_prospect(studies, rule, seeds) < least)
        used[ended] = seeds
        undecided &= ~ended
    return verdicts, used


def _prospect(studies: Studies, rule: Rule, seeds: int) -> Floats:
    """Return the predictive probability of a verdict at `LARGEST` seeds, with the noise seen so far."""
    sd = studies.differences[:, :, :seeds].std(axis=-1, ddof=1)
    # The interval that LARGEST seeds of this noise give.
    training = sd**2 / LARGEST
    wide, usual = (special.stdtrit(LARGEST - 1, level / 2) for level in (rule.levels[-1], rule.level))
    half = studies.half_widths_of(training * max(1.0, float(wide / usual) ** 2), LARGEST, rule.level)
    spread, mean = sd * np.sqrt(1 / seeds - 1 / LARGEST), studies.means(seeds)

    def below(edge: Floats) -> Floats:
        return np.asarray(special.stdtr(seeds - 1, (edge - mean) / spread))

    different = 1 - below(half) + below(-half)
    return np.asarray(different + np.clip(below(MARGIN - half) - below(half - MARGIN), 0, 1))


def right(verdicts: Verdicts, truth: Floats, margin: float = MARGIN) -> NDArray[np.bool_]:
    """Return whether verdicts are right: a difference below the margin is equivalent and also better or worse."""
    signed = (verdicts == np.sign(truth)) & (truth != 0)
    return np.asarray(signed | ((verdicts == EQUIVALENT) & (np.abs(truth) < margin)))


def runs(used: Verdicts) -> float:
    """Return the mean number of runs of a study: its arms and the baseline, as long as an arm needs it."""
    return float((used.sum(axis=1) + used.max(axis=1)).mean())


@dataclass(frozen=True)
class Saving:
    """A rule against the fixed design with the same share of right verdicts.

    Args:
        share_right: Share of right verdicts on variants.
        largest_right: The same of `LARGEST` seeds without looks.
        fixed_seeds: Seeds of the fixed design, interpolated.
        variants: Runs of baseline and variants relative to the fixed design.
        study: The same with the controls: `null`, whose difference is zero, and `width`.
    """

    share_right: float
    largest_right: float
    fixed_seeds: float
    variants: float
    study: float


def saving(plan: Plan, rules: tuple[Rule, Rule], rng: np.random.Generator, studies: int, least: float = 0.0) -> Saving:
    """Return what looks save.

    Args:
        plan: The arms.
        rules: Rules for the variants and for the control.
        rng: Random numbers.
        studies: Number of studies.
        least: As in `follow`.
    """
    every, truth = studies_of(plan, rng, studies)
    count = len(plan.noise)
    variants, truth = part(every, slice(count)), truth[:, :count]
    fixed = Rule(rules[0].level, [rules[0].level] * len(LOOKS), training_only=False)
    by_seeds = [float(right(fixed.verdicts(variants, seeds), truth).mean()) for seeds in LOOKS]
    verdicts, used = follow(variants, rules[0], least)
    share = float(right(verdicts, truth).mean())
    seeds = float(np.interp(share, np.maximum.accumulate(by_seeds), LOOKS))
    control = follow(part(every, slice(count, None)), rules[1], least)[1]
    whole = np.concatenate([used, control, np.full((studies, 1), FIRST)], axis=1)
    return Saving(share, by_seeds[-1], seeds, runs(used) / ((count + 1) * seeds), runs(whole) / ((count + 3) * seeds))
