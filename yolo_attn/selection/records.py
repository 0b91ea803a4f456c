"""Dataclasses of the content of `search.json`: what a search tried, what it dropped and what it confirmed.

Accuracies and differences are fractions of the main metric, such as 0.01 for a point of mAP50-95.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "DROPPED",
    "EXPORT",
    "FAILED",
    "FINALIST",
    "LIMIT",
    "RACING",
    "SCHEMA",
    "UNTRIED",
    "CandidateRecord",
    "Confirmed",
    "Costs",
    "RungEstimate",
    "RungRecord",
    "SearchInfo",
    "SearchRecord",
]

SCHEMA = 1

LIMIT, EXPORT, UNTRIED = "limit", "export", "untried"
"""The states of a candidate that is not trained: it is over a limit, cannot be exported, or is beyond the budget."""
RACING, DROPPED, FAILED, FINALIST = "racing", "dropped", "failed", "finalist"
"""The states of a trained candidate: in an unfinished rung, dropped by a rung, failed in a rung, or confirmed."""


@dataclass(frozen=True)
class Costs:
    """Costs of a model, measured once.

    Args:
        params: Number of parameters.
        gflops: Operations for one image, in units of 10^9.
        latency_ms: Latency of one image in milliseconds; None if it was not measured.
        latency_ratio: The same relative to the base, from measurements that take turns in one process.
        memory_mib: Peak memory of an inference in MiB; None if it was not measured.
        error: Why the model cannot be built or measured.
    """

    params: int | None = None
    gflops: float | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None
    memory_mib: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class RungEstimate:
    """The difference of a candidate to the base in one rung.

    Args:
        rung: Number of the rung, from 1.
        mean: Mean difference over the seeds.
        low: Lower end of its 95 % interval; None with one seed.
        high: Upper end.
        values: Difference of each seed.
    """

    rung: int
    mean: float
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class CandidateRecord:
    """One candidate.

    Args:
        name: As in `variants=`, such as "SE[init=identity]@neck.P4".
        label: Without `init=identity`, such as "SE@neck.P4".
        layers: Names of its layers.
        sites: Their sites.
        status: One of the states above.
        reason: Why it was dropped, in one line; None for a finalist.
        costs: Its costs.
        estimates: Its difference to the base in each rung that it took part in.
    """

    name: str
    label: str
    layers: tuple[str, ...]
    sites: tuple[str, ...]
    status: str
    reason: str | None = None
    costs: Costs = field(default_factory=Costs)
    estimates: tuple[RungEstimate, ...] = ()

    @property
    def last(self) -> RungEstimate | None:
        """The estimate of the last rung that it took part in."""
        return self.estimates[-1] if self.estimates else None


@dataclass(frozen=True)
class RungRecord:
    """One rung.

    Args:
        number: From 1.
        epochs: Epochs of each run.
        seeds: Number of seeds of each candidate.
        candidates: Number of candidates that took part.
        kept: Number that continued.
        worse: Number dropped by their interval.
        beyond: Number dropped because the next rung has no place for them.
        failed: Number whose runs have failed.
        runs: Runs of the rung, those of the base included.
        done: Number of them that are done or have failed.
        sd_training: Standard deviation over seeds of the difference of two candidates; None with one seed.
        resolution: Half the width of the usual 95 % interval of a difference to the base; None with one seed.
        base: Mean of the base's main metric; None until it is done.
        folder: The rung's study, relative to the search's folder.
        pairs: Number of them that are pairs of the best candidates, which joined in it.
    """

    number: int
    epochs: int
    seeds: int
    candidates: int
    kept: int | None = None
    worse: int = 0
    beyond: int = 0
    failed: int = 0
    runs: int = 0
    done: int = 0
    sd_training: float | None = None
    resolution: float | None = None
    base: float | None = None
    folder: str = ""
    pairs: int = 0


@dataclass(frozen=True)
class Confirmed:
    """A finalist in the confirming study, which has images and seeds that the search has not seen.

    Args:
        name: Name of the candidate.
        mean: Its difference to the base; None until it is known.
        low: Lower end of the interval that the verdict is read off.
        high: Upper end.
        verdict: The verdict; None without one.
        p: p-value, multiplied by the number of finalists (Bonferroni).
        seeds: Number of seeds.
        rows: The rows of its model YAML that contain the layers, as text with their numbers.
    """

    name: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    p: float | None = None
    seeds: int | None = None
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchInfo:
    """The setup of a search.

    Args:
        base: The base, as given; of an absolute path only the file.
        data: Name of the dataset.
        task: Task of the models.
        metric: The main metric.
        recipe: Ultralytics' training keys.
        train_images: Images that the search trains on.
        search_images: Images that the search evaluates, carved from the training images.
        confirm_images: Images that the confirmation evaluates.
        shared_images: Number of them that are also training images.
        limits: Limits as given, such as "latency:+10%".
        export: Format that candidates can be exported to; None if any.
        budget: The budget as given, such as "runs=300"; None without one.
        margin: Smallest difference that matters.
        versions: Versions of packages.
        device: Device of the runs.
        latency_device: Device on which latency is measured, if it is another one.
        threads: CPU threads of a run.
        command: The command line, without the folders of absolute paths.
        given_data: The dataset as given, without the folders of an absolute path.
        layer_files: Files of custom layers, likewise.
        weights: Checkpoint that the runs start from, if it is not the base itself; None without one.
        lr_attention: Learning rate of attention layers, relative to that of the others; None if it is the same.
    """

    base: str
    data: str
    task: str
    metric: str
    recipe: Mapping[str, object]
    train_images: int | None = None
    search_images: int | None = None
    confirm_images: int | None = None
    shared_images: int = 0
    limits: str | None = None
    export: str | None = None
    budget: str | None = None
    margin: float = 0.005
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    latency_device: str = ""
    threads: int = 1
    command: str = ""
    given_data: str = ""
    layer_files: tuple[str, ...] = ()
    weights: str | None = None
    lr_attention: float | None = None


@dataclass(frozen=True)
class SearchRecord:
    """The content of `search.json`.

    Args:
        info: The setup.
        base: Costs of the base.
        candidates: All candidates, in the order in which they are tried.
        rungs: The rungs, planned ones included.
        confirmed: The finalists in the confirming study; empty before it.
        confirm_folder: The confirming study, relative to the search's folder.
        confirm_seeds: Number of its seeds; None before it begins.
        confirm_detectable: Smallest difference that the confirmation detects with 80 % power: an interval.
        finished: Whether the search is complete.
        notes: What limits the conclusions, in sentences.
    """

    info: SearchInfo
    base: Costs
    candidates: tuple[CandidateRecord, ...]
    rungs: tuple[RungRecord, ...]
    confirmed: tuple[Confirmed, ...] = ()
    confirm_folder: str | None = None
    confirm_seeds: int | None = None
    confirm_detectable: tuple[float, ...] | None = None
    finished: bool = False
    notes: tuple[str, ...] = ()
