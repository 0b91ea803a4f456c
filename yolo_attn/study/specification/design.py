"""The design of a study: what its arms start from, how many seeds they get, and what their verdicts mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yolo_attn.errors import UserError
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.power import MOST_SEEDS
from yolo_attn.study.results.records import DEFAULT_MARGIN
from yolo_attn.study.specification.arguments import (
    is_auto,
    parse_count,
    parse_flag,
    parse_groups,
    parse_points,
    parse_positive,
    parse_seeds,
)

__all__ = ["DEFAULT_MAX_SEEDS", "FINE_TUNING_LR_ATTENTION", "Design", "parse_hours", "read_seeds"]

DEFAULT_MAX_SEEDS = 12
FINE_TUNING_LR_ATTENTION = 10.0
"""Learning rate of attention layers in a fine-tuning unless the user gives one, relative to that of all others.

With the same rate as the trained layers, layers at the identity are still the identity after a short fine-tuning, and a
study compares the base with itself.
"""


@dataclass(frozen=True)
class Design:
    """What the arms of a study start from, how many seeds they get, and what their verdicts mean.

    Args:
        pretrain: Epochs of the base's own training, after which all arms start from it; 0 without.
        bases: Number of bases that are trained, with different seeds; the study's seeds start from them in turn.
        lr_attention: Learning rate of attention layers' parameters, relative to that of all others.
        margin: Smallest difference that matters, in points of the main metric.
        no_worse: Whether "no worse" is a verdict.
        max_seeds: Largest number of seeds if undecided arms get more (`seeds=auto`); None if the number is fixed.
        groups: "folder" or a regular expression for names of images; images with the same folder or match are
            resampled together. None if images are independent.
    """

    pretrain: int = 0
    bases: int = 1
    lr_attention: float = 1.0
    margin: float = 100 * DEFAULT_MARGIN
    no_worse: bool = False
    max_seeds: int | None = None
    groups: str | None = None

    @classmethod
    def from_content(cls, content: Mapping[str, object]) -> Design:
        """Read a design from the content of a study file or from arguments.

        Raises:
            UserError: A value is invalid.
        """
        pretrain = parse_count(content, "pretrain", least=0) or 0
        return cls(
            pretrain=pretrain,
            bases=_parse_bases(content, pretrain),
            lr_attention=parse_positive(content, "lr_attention") or 1.0,
            margin=parse_points(content, "margin") or cls.margin,
            no_worse=parse_flag(content, "no_worse"),
            max_seeds=_parse_max_seeds(content),
            groups=parse_groups(content.get("groups")),
        )

    def to_content(self) -> dict[str, object]:
        """Return the values that differ from the defaults."""
        usual = Design()
        return {name: value for name, value in vars(self).items() if value != getattr(usual, name)}

    def is_similar(self, other: Design) -> bool:
        """Whether another design trains the same runs; margin and groups only affect their evaluation."""
        names = ("pretrain", "bases", "lr_attention")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def _parse_bases(content: Mapping[str, object], pretrain: int) -> int:
    bases = parse_count(content, "bases") or 1
    if bases > 1 and not pretrain:
        raise UserError(f"bases={bases}: the number of bases that pretrain= trains; add pretrain=EPOCHS")
    if bases == MIN_SEEDS - 1:
        raise UserError(f"bases={bases}: two bases do not show how bases vary; give 1, or at least {MIN_SEEDS}")
    return bases


def _parse_max_seeds(content: Mapping[str, object]) -> int | None:
    max_seeds = parse_count(content, "max_seeds", least=MIN_SEEDS)
    if is_auto(content.get("seeds")):
        if max_seeds is not None and max_seeds > MOST_SEEDS:
            raise UserError(f"max_seeds={max_seeds}: must be an integer from {MIN_SEEDS} to {MOST_SEEDS}")
        return max_seeds or DEFAULT_MAX_SEEDS
    if max_seeds is not None:
        raise UserError(f"max_seeds={max_seeds}: belongs to seeds=auto; with a number of seeds omit it")
    return None


def read_seeds(value: object, design: Design) -> tuple[int, ...]:
    """Return the seeds; with `seeds=auto` all that may be needed.

    Raises:
        UserError: The seeds are invalid, or cannot be dealt out evenly to the bases.
    """
    seeds = tuple(range(design.max_seeds)) if design.max_seeds else parse_seeds(value)
    if design.bases > 1 and design.max_seeds:
        raise UserError("seeds=auto: looks after every seed, which needs bases=1; give a number of seeds")
    if len(seeds) % design.bases:
        raise UserError(
            f"seeds={len(seeds)}: cannot be dealt out evenly to bases={design.bases}; give a multiple of it"
        )
    return seeds


def parse_hours(settings: Mapping[str, object], design: Design) -> float | None:
    """Return the hours after which no further seed is started; None without a limit."""
    hours = parse_positive(settings, "hours")
    if hours is not None and design.max_seeds is None:
        raise UserError(f"hours={hours:g}: belongs to seeds=auto, which stops adding seeds then")
    return hours
