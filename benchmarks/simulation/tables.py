"""The tables of docs/statistics.md. `benchmarks/calibration.py` writes them, a slow test reads their quick form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from yolo_attn.stats.bootstrap import image_weights, replicate_metrics
from yolo_attn.stats.compare import MIN_IMAGES

from . import boards, looks, whole
from .components import INFLUENCES, NOISES, simulate
from .reference import false_alarms

ALPHA = 0.05
# Standard error of the images relative to that of training, both of the mean over seeds.
RATIOS = {"training 5 to 1": 0.2, "training 1 to 1": 1.0, "training 1 to 5": 5.0}


@dataclass(frozen=True)
class Table:
    """A table of the documentation.

    Args:
        columns: Column heads.
        rows: The cells as text.
        rates: False alarms where a verdict is given, relative to the nominal level.
        errors: Their standard errors.
    """

    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def add(self, rate: float, studies: float, level: float = ALPHA) -> None:
        """Record the false alarms of one cell."""
        self.rates.append(rate / level)
        self.errors.append((max(rate, level) / studies) ** 0.5 / level)

    def markdown(self) -> str:
        """Return the table."""
        head = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)]]
        return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *self.rows])


def _percent(rate: float, digits: int = 1) -> str:
    return f"{100 * rate:.{digits}f}"


def per_test(quick: bool) -> Table:
    """False alarms of one test, by noise, seeds and images."""
    studies, seeds = (4000, (3, 10)) if quick else (50_000, (3, 4, 5, 7, 10, 12))
    images = (5, 10, 20, 40, 120, 500, 5000)
    table = Table(["noise", "seeds", *[f"{number} images" for number in images]])
    for noise, ratio in RATIOS.items():
        for count in seeds:
            row = []
            for number in images:
                rng = np.random.default_rng(0)
                found = simulate(rng, studies, seeds=count, images=number, image=ratio / count**0.5)
                rate = float(found.outside(count, ALPHA).mean())
                table.add(rate, studies)
                row.append(_percent(rate))
            table.rows.append([noise, str(count), *row])
    return table


def influences(quick: bool) -> Table:
    """False alarms of one test where images differ in what they say; ten seeds, images five times noisier."""
    studies, images = (2000, (10, 20)) if quick else (40_000, (5, 10, 20, 40, 120))
    table = Table(["what one image adds", *[f"{number} images" for number in images]])
    for name in INFLUENCES:
        row = []
        for number in images:
            found = simulate(
                np.random.default_rng(0), studies, seeds=10, images=number, image=5 / 10**0.5, influence=name
            )
            rate = float(found.outside(10, ALPHA).mean())
            table.add(rate, studies)
            row.append(_percent(rate))
        table.rows.append([name, *row])
    return table


def family(quick: bool) -> Table:
    """Studies with at least one false alarm among K variants, at level 0.05 / K each."""
    total, variants = (20_000, (1, 10)) if quick else (200_000, (1, 3, 10, 70))
    table = Table(["noise", "seeds", *[f"{number} variant{'s' * (number > 1)}" for number in variants]])
    for noise, ratio in RATIOS.items():
        for count in (3, 5, 12):
            row = []
            for number in variants:
                studies = min(50_000, total // number)
                found = simulate(
                    np.random.default_rng(0), studies, variants=number, seeds=count, image=ratio / count**0.5
                )
                rate = float(found.outside(count, ALPHA / number).any(axis=1).mean())
                table.add(rate, studies)
                row.append(_percent(rate))
            table.rows.append([noise, str(count), *row])
    return table


HELD = [name for name in NOISES if "only variants" not in name and "and skewed" not in name]


def shapes(quick: bool) -> Table:
    """False alarms where training noise is not normal; half as much image noise."""
    studies, seeds = (4000, (3, 5)) if quick else (50_000, (3, 4, 5, 7, 10, 12))
    table = Table(["noise of runs", *[f"{count} seeds" for count in seeds]])
    for name, noise in NOISES.items():
        row = []
        for count in seeds:
            found = simulate(np.random.default_rng(0), studies, seeds=count, image=0.5 / count**0.5, noise=noise)
            outside, better = found.outside(count, ALPHA), found.means(count) > 0
            rate = float(outside.mean())
            if name in HELD:
                table.add(rate, studies)
            row.append(f"{_percent(rate)} ({_percent((outside & better).mean())})")
        table.rows.append([name, *row])
    return table


def planned_looks(quick: bool) -> Table:
    """False alarms of all looks at 3, 4, ..., 12 seeds together; the rule of `seeds=auto` beside others."""
    studies = 4000 if quick else 50_000
    ratios = (0.0, 0.2, 0.5, 1.0, 3.0)
    table = Table(["looks", *[f"images {ratio:g}" for ratio in ratios]])
    rules = {
        "5 % at every look": (looks.Rule(ALPHA, [ALPHA] * len(looks.LOOKS), training_only=False), False),
        "spending, whole interval": (looks.power_rule(ALPHA, 2, training_only=False), True),
        "spending, training part": (looks.power_rule(ALPHA, 2), True),
        "spending, training part, 3 variants": (looks.power_rule(ALPHA / 3, 2), True),
    }
    for name, (rule, held) in rules.items():
        row = []
        for ratio in ratios:
            found = simulate(np.random.default_rng(0), studies, seeds=looks.LARGEST, images=500, image=ratio)
            verdicts = [rule.verdicts(found, count, margin=0.0) for count in looks.LOOKS]
            rate = float((np.array(verdicts) != looks.INCONCLUSIVE).any(axis=0).mean())
            if held:
                table.add(rate, studies, rule.level)
            row.append(_percent(rate, 2 if rule.level < ALPHA else 1))
        table.rows.append([name, *row])
    return table


def unplanned_looks(quick: bool) -> Table:
    """Exact false alarms of looks at 5 % that were not planned."""
    paths = {
        "3, 5": (3, 5),
        "3, 5, 8": (3, 5, 8),
        "every seed from 3 to 5": range(3, 6),
        "every seed from 3 to 8": range(3, 9),
        "every seed from 3 to 12": range(3, 13),
    }
    del quick  # exact in both forms
    return Table(["looks at seeds", "false alarms"], [[n, _percent(false_alarms(p, ALPHA))] for n, p in paths.items()])


def savings(quick: bool) -> Table:
    """Runs of `seeds=auto` in % of those of the fixed design with the same share of right verdicts."""
    studies = 500 if quick else 5_000
    variants, control = ALPHA / 4, ALPHA
    rules = {
        "power 2": (looks.power_rule(variants, 2), looks.power_rule(control, 2)),
        "power 1": (looks.power_rule(variants, 1), looks.power_rule(control, 1)),
        "power 3": (looks.power_rule(variants, 3), looks.power_rule(control, 3)),
        "whole interval": (
            looks.power_rule(variants, 2, training_only=False),
            looks.power_rule(control, 2, training_only=False),
        ),
        "Bonferroni": (looks.bonferroni_rule(variants), looks.bonferroni_rule(control)),
        "e-process": (looks.e_rule(variants), looks.e_rule(control)),
    }
    if quick:
        rules = dict(list(rules.items())[:1])
    heads = ["study", "right: 12 seeds", "looks", "fixed seeds", *rules, "right: with stop", "power 2 with stop"]
    table = Table(heads)
    for name, plan in looks.PLANS.items():
        found = [looks.saving(plan, pair, np.random.default_rng(0), studies) for pair in rules.values()]
        stop = looks.saving(plan, rules["power 2"], np.random.default_rng(0), studies, least=0.1)
        first = found[0]
        rates = [f"{100 * one.study:.0f} ({100 * one.variants:.0f})" for one in (*found, stop)]
        rights = [_percent(first.largest_right), _percent(first.share_right), f"{first.fixed_seeds:.1f}"]
        table.rows.append([name, *rights, *rates[:-1], _percent(stop.share_right), rates[-1]])
        table.rates.append(first.study)
    return table


FEW = [whole.Scenario(f"{number} images", number) for number in (5, 8, 10, 12, 15, 20, 40)]
FEW_TRAINED = [whole.Scenario(f"{number} images, training noise", number, by_seed=0.15) for number in (5, 10, 20)]
RARE = [
    whole.Scenario("20 classes with 2 images each", 40, 20, class_images=(2,) * 20),
    whole.Scenario("10 classes with 2 images each", 20, 10, class_images=(2,) * 10),
    whole.Scenario("10 classes with 3 images each", 30, 10, class_images=(3,) * 10),
    whole.Scenario("10 classes with 4 images each", 40, 10, class_images=(4,) * 10),
    whole.Scenario("10 classes with 1 image, 10 with 10 images", 110, 20, class_images=(1,) * 10 + (10,) * 10),
    whole.Scenario("5 classes with 1 image, 5 with 5 images", 30, 10, class_images=(1,) * 5 + (5,) * 5),
    whole.Scenario("1 class with 1 image, 9 with 10 images", 91, 10, class_images=(1,) + (10,) * 9),
    whole.Scenario("12 Zipf classes, 40 images", 40, 12, zipf=True),
    whole.Scenario("12 Zipf classes, 120 images, 1.3 objects each", 120, 12, objects=1.3, zipf=True),
]
CLUSTERS = [
    whole.Scenario("12 videos of 10 frames", 120, 1, groups=12),
    whole.Scenario("12 videos of 10 frames, groups=", 120, 1, groups=12, resample_groups=True),
    whole.Scenario("20 videos of 6 frames, groups=", 120, 1, groups=20, resample_groups=True),
]
LARGE = [
    whole.Scenario("120 images", 120, 1),
    whole.Scenario("120 images, training noise", 120, 1, by_seed=0.15, by_image=0.5),
    whole.Scenario("500 images, training noise", 500, 1, by_seed=0.15, by_image=0.5),
]
UNKNOWN = {"12 videos of 10 frames"}  # the study cannot know; the report's limits say so


def whole_studies(quick: bool) -> Table:
    """False alarms from detections to intervals, and the bootstrap's variance over the true one."""
    columns = ["test set", "5 %", "1.67 %", "5 %, N - 1 df", "variance B' / true"]
    table = Table(columns)
    scenarios = FEW[5:6] + RARE[1:2] + CLUSTERS[2:] if quick else [*FEW, *FEW_TRAINED, *LARGE, *RARE, *CLUSTERS]
    for scenario in scenarios:
        size = scenario.images * scenario.classes**0.5 * (3 if scenario.by_seed else 1)
        studies = 60 if quick else int(np.clip(8000 / size, 60, 200))
        found = whole.run(scenario, studies)
        rates, errors = found.false_alarms()
        if scenario.name not in UNKNOWN and scenario.units >= MIN_IMAGES:
            table.rates.append(rates[0, 0] / ALPHA)
            table.errors.append(errors[0, 0] / ALPHA)
        cells = [f"{_percent(rates[0, 0])} ± {_percent(errors[0, 0])}", _percent(rates[0, 1], 2), _percent(rates[1, 0])]
        cells.append("-" if scenario.by_seed else f"{found.bias():.2f}")
        table.rows.append([scenario.name, *cells])
    return table


def power(quick: bool) -> Table:
    """Detectable difference (80 % power) estimated by one study of training noise, and what it is worth."""
    studies = 4000 if quick else 50_000
    columns = [
        "variants",
        "seeds",
        "announced / true, 5 to 95 %",
        "power at the true one",
        "power at the announced one",
    ]
    table = Table(columns)
    for variants in (1, 3):
        for seeds in (3, 5, 10, 12):
            level = ALPHA / variants
            found = simulate(np.random.default_rng(0), studies, variants=variants, seeds=seeds)
            half, mean = found.half_widths(seeds, level)[:, 0], found.means(seeds)[:, 0]
            true = float(np.quantile(half - mean, 0.8))
            announced = true * np.sqrt(found.differences.var(axis=-1, ddof=1).mean(axis=1))
            again = simulate(np.random.default_rng(1), studies, seeds=seeds)
            half, mean = again.half_widths(seeds, level)[:, 0], again.means(seeds)[:, 0]
            low, high = np.quantile(announced / true, [0.05, 0.95])
            reached = [_percent(float((mean + size > half).mean()), 0) for size in (true, announced)]
            table.rows.append([str(variants), str(seeds), f"{low:.2f} to {high:.2f}", *reached])
    return table


def bootstrap(quick: bool) -> Table:
    """Relative error of the bootstrap's variance: between random seeds and between test sets."""
    test_sets, repeats = (3, 4) if quick else (16, 5)
    table = Table(["test set", "replicates", "between bootstraps", "sqrt(2 / (R - 1))", "between test sets"])
    for scenario in (FEW[5], LARGE[0], whole.Scenario("500 images", 500, 1)):
        rng = np.random.default_rng(0)
        found = {number: np.empty((test_sets, repeats)) for number in (200, 1000)}
        for index in range(test_sets):
            images = whole.images_of(scenario, rng)
            pair = [images.evaluate(images.arm(scenario.by_image)) for _ in range(2)]
            for repeat in range(repeats):
                weights = image_weights(scenario.images, 1000, seed=repeat)
                first, second = (replicate_metrics(one, weights).metrics[:, 0] for one in pair)
                for number, variances in found.items():
                    variances[index, repeat] = (second - first)[:number].var(ddof=1)
        for number, variances in found.items():
            between = float(np.sqrt(((variances.std(axis=1, ddof=1) / variances.mean(axis=1)) ** 2).mean()))
            sets = float(variances.mean(axis=1).std(ddof=1) / variances.mean())
            row = [between, (2 / (number - 1)) ** 0.5, sets]
            table.rows.append([scenario.name, str(number), *[f"{_percent(value)} %" for value in row]])
    return table


DISTRIBUTIONS = {"d0 = 2": 2.0, "d0 = 3": 3.0, "d0 = 5": 5.0, "d0 = 15": 15.0, "all equal": np.inf}
"""Of the variances of the arms of a board."""


def whole_boards(quick: bool) -> Table:
    """Boards with an interval that misses, three seeds, by the noise of their arms and that of the base."""
    number, sizes = (100, (72,)) if quick else (1500, (72, 130))
    base_noises = (1.0,) if quick else (1.0, 1.4)
    table = Table(["variances", "noise of the base", *[head for arms in sizes for head in (f"{arms} rows", "width")]])
    for name, df in DISTRIBUTIONS.items():
        for base in base_noises:
            row = []
            for arms in sizes:
                rng = np.random.default_rng(0)
                missed, widths = [], []
                for _ in range(number):
                    values = boards.simulate_board(rng, arms, 3, boards.Noise(df, base))
                    half, alone = boards.half_widths(values)
                    missed.append(bool((np.abs(values.mean(axis=1)) > half).any()))
                    widths.append(float(np.median(half / alone)))
                table.add(float(np.mean(missed)), number)
                row += [_percent(float(np.mean(missed))), f"{np.median(widths):.2f}"]
            table.rows.append([name, f"{base:g}", *row])
    return table


def board_spread(quick: bool) -> Table:
    """False alarms that arms differ from each other: of the sign-flip test, and of the F distribution."""
    number = 40 if quick else 400
    table = Table(["variances", "sign flips", "F distribution"])
    for name, df in DISTRIBUTIONS.items():
        rng = np.random.default_rng(0)
        found = [boards.p_values(boards.simulate_board(rng, 72, 3, boards.Noise(df))) for _ in range(number)]
        flips, plain = (np.array(found) <= ALPHA).mean(axis=0)
        table.add(float(flips), number)
        table.rows.append([name, _percent(float(flips)), _percent(float(plain))])
    return table


TABLES: Mapping[str, Callable[[bool], Table]] = {
    "bootstrap": bootstrap,
    "per-test": per_test,
    "influences": influences,
    "shapes": shapes,
    "whole-studies": whole_studies,
    "family": family,
    "boards": whole_boards,
    "board-spread": board_spread,
    "unplanned-looks": unplanned_looks,
    "planned-looks": planned_looks,
    "savings": savings,
    "power": power,
}
