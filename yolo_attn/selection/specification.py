"""The specification of a search, read from `key=value` arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.selection.export import parse_export
from yolo_attn.selection.limits import Limits, parse_limits
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.study.specification.arguments import (
    AUTO,
    is_auto,
    parse_count,
    parse_flag,
    parse_positive,
    parse_seeds,
    parse_text,
    split_list,
)
from yolo_attn.study.specification.controls import CONTROLS
from yolo_attn.study.specification.device import device_kind
from yolo_attn.study.specification.study import Study, StudyFolder
from yolo_attn.system.files import expand_home

__all__ = [
    "CONFIRM_SEEDS",
    "DEFAULT_NAME",
    "DEFAULT_PROJECT",
    "DEFAULT_SHARE",
    "MOST_CONFIRM_SEEDS",
    "MOST_FINALISTS",
    "Search",
]

DEFAULT_PROJECT = "runs/search"
DEFAULT_NAME = "search"
DEFAULT_SHARE = 0.2
"""Share of the training images that the search evaluates."""
MOST_FINALISTS = 3
CONFIRM_SEEDS = 5
"""The fewest seeds of the confirmation if their number is not given."""
MOST_CONFIRM_SEEDS = 12
"""The most, where the runs of the rungs are noisy."""
_FIRST_CONFIRM_SEED = 100  # above the seeds of all rungs, so that no seed of the confirmation has been selected on
_MOST_SHARE = 0.5
_CHOSEN = frozenset({"variants", "seeds"})  # given by the search

_SEARCH_KEYS = (
    *("layers", "at", "limit", "export", "pairs", "runs", "hours", "finalists", "share", "seeds", "controls"),
    *("project", "name", "plan"),
)
_OTHER_KEYS = {
    "variants": "layers= and at= give the candidates",
    "study": "a search reads no study file; give its keys in the command",
    "bases": "all candidates start from one base; compare the finalists with bases=",
    "max_seeds": "seeds= is the number of seeds of the confirmation",
    "no_worse": "the report always names the cheapest finalist that is confirmed not to be worse",
    "detect": "plan=True prints what the budget can resolve",
    "exist_ok": "the same command continues a search; another one needs another name=",
    "split": "a search evaluates images that it carves from the training images",
    "val": "a search evaluates the last epoch of each run",
}


@dataclass(frozen=True)
class Search:
    """What is searched, under which limits and budget.

    Args:
        study: Base, data, recipe and how it runs, as a study whose variants are chosen later.
        layers: Names of layers and families, or "all"; with options in brackets.
        layer_files: Python files of custom layers, whose layers are candidates too if no other layers are named.
        at: The sites; empty for the usual ones of the base.
        limits: The limits of the costs.
        export: Format that candidates must be exportable to; None for any.
        pairs: Whether pairs of placements are searched after single ones.
        runs: Largest number of runs, the confirmation included; None without a limit.
        hours: Time of all runs; None without a limit.
        finalists: Largest number of candidates that are confirmed.
        share: Share of the training images that the search evaluates.
        seeds: Seeds of the confirmation; None if the noise of the rungs decides their number.
        folder: The search's folder.
        plan_only: Whether to print the plan and train nothing.
    """

    study: Study
    layers: tuple[str, ...]
    layer_files: tuple[str, ...]
    at: tuple[str, ...]
    limits: Limits
    export: str | None
    pairs: bool
    runs: int | None
    hours: float | None
    finalists: int
    share: float
    seeds: tuple[int, ...] | None
    folder: StudyFolder
    plan_only: bool

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, object]) -> Search:
        """Read a search from arguments.

        Args:
            arguments: Keys and values; text is parsed like the command line's.

        Raises:
            UserError: A key or a value is invalid.
        """
        for key, value in arguments.items():
            if key in _OTHER_KEYS:
                raise UserError(f"{key}={value}: not a key of a search: {_OTHER_KEYS[key]}")
        settings = {key: value for key, value in arguments.items() if key in _SEARCH_KEYS}
        files, layers = _split_layers(settings.get("layers"))
        runs, hours = parse_count(settings, "runs"), parse_positive(settings, "hours")
        if runs is not None and hours is not None:
            raise UserError(f"runs={runs} and hours={hours:g}: give one of them")
        study = _study_of(arguments, settings, files)
        return cls(
            study=study,
            layers=layers,
            layer_files=files,
            at=_texts(settings.get("at")),
            limits=parse_limits(parse_text(settings, "limit")),
            export=parse_export(parse_text(settings, "export")),
            pairs=parse_flag(settings, "pairs"),
            runs=runs,
            hours=hours,
            finalists=_parse_finalists(settings),
            share=_parse_share(settings),
            seeds=_given_seeds(settings),
            folder=_parse_folder(settings),
            plan_only=parse_flag(settings, "plan"),
        )

    def content(self) -> dict[str, object]:
        """Return what decides the candidates, the data and the runs; a search continues only with the same content."""
        study = self.study.to_content()
        for key in ("variants", "seeds", "controls"):
            study.pop(key)
        return {
            **study,
            "layers": list(self.layers),
            **({"layer_files": [Path(file).name for file in self.layer_files]} if self.layer_files else {}),
            "at": list(self.at),
            "limit": self.limits.text or None,
            "export": self.export,
            "pairs": self.pairs,
            "share": self.share,
            "finalists": self.finalists,
        }

    @property
    def budget(self) -> str | None:
        """The budget as given, such as "runs=300"; None without one."""
        if self.runs is not None:
            return f"runs={self.runs}"
        return None if self.hours is None else f"hours={self.hours:g}"

    @property
    def seed_counts(self) -> range:
        """The possible numbers of seeds of the confirmation."""
        if self.seeds is None:
            return range(CONFIRM_SEEDS, MOST_CONFIRM_SEEDS + 1)
        return range(len(self.seeds), len(self.seeds) + 1)

    def confirm_runs(self, finalists: int, seeds: int) -> int:
        """Return the runs of the confirmation of some finalists, without those that train bases."""
        return (finalists + 1 + len(self.study.controls)) * seeds

    @property
    def rung_bases(self) -> int:
        """The bases that are trained for the rungs."""
        return 1 if self.study.design.pretrain else 0

    @property
    def confirm_bases(self) -> int:
        """The bases that are trained for the confirmation: that of most arms, and those of controls with their own."""
        own = sum(CONTROLS[name].own_base for name in self.study.controls)
        return 1 + own if self.study.design.pretrain else 0

    def rung_study(self, name: str, data: str, variants: Iterable[str], *, seeds: int, epochs: int) -> Study:
        """Return the study of a rung.

        Args:
            name: Its folder in the search's folder.
            data: Data YAML of the carved split.
            variants: The candidates.
            seeds: Number of seeds.
            epochs: Epochs of each run.
        """
        return replace(
            self.study,
            data=data,
            variants=tuple(variants),
            controls=(),
            seeds=tuple(range(seeds)),
            train=dict(sorted({**_without_split(self.study.train), "epochs": epochs}.items())),
            pretraining=_without_split(self.study.pretraining),
            given=self.study.given | _CHOSEN,
            folder=StudyFolder(self.folder.path / name, explicit=True, exist_ok=True),
        )

    def confirm_study(self, name: str, variants: Iterable[str], seeds: int) -> Study:
        """Return the confirming study.

        Args:
            name: Its folder in the search's folder.
            variants: The finalists.
            seeds: Number of its seeds, if they are not given.
        """
        return replace(
            self.study,
            variants=tuple(variants),
            seeds=_confirm_seeds(seeds) if self.seeds is None else self.seeds,
            given=self.study.given | _CHOSEN,
            folder=StudyFolder(self.folder.path / name, explicit=True, exist_ok=True),
        )


def _without_split(recipe: Mapping[str, object]) -> dict[str, object]:
    """Return a recipe that evaluates val, as which a carved dataset has the images that the search evaluates."""
    return {key: value for key, value in recipe.items() if key != "split"}


def _study_of(arguments: Mapping[str, object], settings: Mapping[str, object], files: Iterable[str]) -> Study:
    """Return base, data and recipe as a study; by default those of `compare`."""
    given = {key: value for key, value in arguments.items() if key not in settings}
    if files:
        given["layers"] = ",".join(files)
    given.setdefault("variants", "SE@neck")  # replaced by the candidates
    given["val"] = False
    study = Study.from_arguments({**given, "controls": settings.get("controls", [])})
    if study.threads is None and device_kind(study.device) == "cpu":
        # A search has enough runs for all cores, and two threads do not halve a run's time.
        return replace(study, threads=1)
    return study


def _split_layers(value: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the Python files and the names in `layers=`."""
    items = _texts(value)
    files = tuple(item for item in items if item.endswith(".py"))
    names = tuple(item for item in items if not item.endswith(".py"))
    return files, names or (() if files else ("all",))


def _texts(value: object) -> tuple[str, ...]:
    """Return a list of texts, given as a list or as text with commas."""
    if value is None:
        return ()
    items = split_list(value) if isinstance(value, str) else value
    if not isinstance(items, Iterable):
        items = [items]
    return tuple(text for item in items if (text := str(item).strip()))


def _parse_finalists(settings: Mapping[str, object]) -> int:
    finalists = parse_count(settings, "finalists") or MOST_FINALISTS
    if finalists > MOST_FINALISTS:
        raise UserError(
            f"finalists={finalists}: at most {MOST_FINALISTS}; each more makes the confirmation of all less sensitive"
        )
    return finalists


def _parse_share(settings: Mapping[str, object]) -> float:
    share = parse_positive(settings, "share") or DEFAULT_SHARE
    if share > _MOST_SHARE:
        raise UserError(f"share={share:g}: must be a share of the training images of at most {_MOST_SHARE}")
    return share


def _confirm_seeds(count: int) -> tuple[int, ...]:
    """Return seeds that no rung has."""
    return tuple(range(_FIRST_CONFIRM_SEED, _FIRST_CONFIRM_SEED + count))


def _given_seeds(settings: Mapping[str, object]) -> tuple[int, ...] | None:
    """Return the seeds of the confirmation that are given, themselves or by their number; None if they are not."""
    given = settings.get("seeds")
    if given is None:
        return None
    if is_auto(given):
        raise UserError(f"seeds={AUTO}: not in a search; give the number of seeds of the confirmation, such as seeds=5")
    seeds = parse_seeds(given)
    if len(seeds) < MIN_SEEDS:
        raise UserError(f"seeds={given}: the confirmation has no verdict below {MIN_SEEDS} seeds")
    is_count = seeds == tuple(range(len(seeds)))
    if not is_count and min(seeds) < _FIRST_CONFIRM_SEED:
        raise UserError(
            f"seeds={given}: the confirmation needs seeds that the search has not seen, from {_FIRST_CONFIRM_SEED} on; "
            "a number, such as seeds=5, chooses them"
        )
    return _confirm_seeds(len(seeds)) if is_count else seeds


def _parse_folder(settings: Mapping[str, object]) -> StudyFolder:
    project = parse_text(settings, "project") or DEFAULT_PROJECT
    name = parse_text(settings, "name")
    return StudyFolder(expand_home(project) / (name or DEFAULT_NAME), explicit=name is not None)
