"""Synthetic searches: records as an engine would write them, with known winners, drops and failures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from yolo_attn.selection.records import (
    DROPPED,
    EXPORT,
    FAILED,
    FINALIST,
    LIMIT,
    RACING,
    UNTRIED,
    CandidateRecord,
    Confirmed,
    Costs,
    RungEstimate,
    RungRecord,
    SearchInfo,
    SearchRecord,
)

BASE = Costs(2_590_000, 6.5, 40.0, 1.0, 210.0)
SEEDS = (1, 2, 4)
EPOCHS = (10, 20, 20)
HALF = (0.012, 0.006)  # half widths of the intervals of rungs 2 and 3
LAYERS = ("SE", "ECA", "CBAM", "EMA", "CA", "SimAM")
SITES = ("backbone.P4", "backbone.P5", "neck.P3", "neck.P4")

INFO = SearchInfo(
    base="yolo11n.yaml",
    data="digits",
    task="detect",
    metric="mAP50-95",
    recipe={"amp": False, "batch": 16, "epochs": 20, "imgsz": 160, "lr0": 0.01, "optimizer": "SGD", "val": False},
    train_images=800,
    search_images=200,
    confirm_images=500,
    limits="latency:+10%,params:+5%",
    export="onnx",
    budget="runs=120",
    versions={"yolo-attn": "1.0", "ultralytics": "8.4", "torch": "2.9"},
    threads=1,
    command="yolo-attn search base=yolo11n.yaml data=digits runs=120 limit=latency:+10%,params:+5% export=onnx",
)


def costs(params: int = 2_600_000, ratio: float | None = 1.04) -> Costs:
    """Return the costs of a candidate."""
    return Costs(params, 6.6, None if ratio is None else 40 * ratio, ratio, 215.0)


def estimate(rung: int, mean: float) -> RungEstimate:
    """Return an estimate as wide as those of its rung."""
    if rung == 1:
        return RungEstimate(1, mean, values=(mean,))
    half = HALF[rung - 2]
    return RungEstimate(rung, mean, mean - half, mean + half, (mean,) * SEEDS[rung - 1])


def candidate(
    name: str, status: str = DROPPED, means: Iterable[float] = (), reason: str | None = None
) -> CandidateRecord:
    """Return a candidate with its mean difference in each rung."""
    label = name.replace("[init=identity]", "")
    parts = [part.partition("@") for part in label.split("+")]
    return CandidateRecord(
        name=name,
        label=label,
        layers=tuple(layer.partition("[")[0] for layer, _, _ in parts),
        sites=tuple(site for _, _, site in parts),
        status=status,
        reason=reason,
        costs=costs(2_590_000 + 1000 * (1 + sum(map(ord, name)) % 97), 0.97 + 0.005 * (sum(map(ord, name)) % 23)),
        estimates=tuple(estimate(rung, mean) for rung, mean in enumerate(means, 1)),
    )


def placed(layer: str, site: str) -> str:
    """Return the name of a layer at a site."""
    return f"{layer}[init=identity]@{site}"


def make_record(
    layers: Iterable[str] = LAYERS,
    sites: Iterable[str] = SITES,
    *,
    verdicts: tuple[str, ...] = ("better", "equivalent"),
) -> SearchRecord:
    """Return a finished search of layers at sites, in which the first candidates of a random order are the best.

    Args:
        layers: The layers.
        sites: The sites.
        verdicts: The verdicts of the finalists.
    """
    names = [placed(layer, site) for layer in layers for site in sites]
    rng = np.random.default_rng(0)
    true = dict(zip(names, rng.normal(0.002, 0.012, len(names)), strict=True))
    found: dict[str, CandidateRecord] = {}
    waiting = list(rng.permutation(names))
    for status, reason in (
        (EXPORT, "onnx: the operator is not supported"),
        (LIMIT, "latency +14.2% is over +10%"),
        (LIMIT, "params +7.1% is over +5%"),
        (UNTRIED, "the budget is not sufficient for it"),
    ):
        for name in waiting[: len(names) // 16]:
            found[name] = replace(candidate(name, status, (), reason), costs=costs(2_780_000, 1.142))
        waiting = waiting[len(names) // 16 :]
    means = {name: [float(rng.normal(true[name], sd)) for sd in (0.01, 0.006, 0.003)] for name in waiting}
    rungs = []
    for number in (1, 2, 3):
        order = sorted(waiting, key=lambda name: -means[name][number - 1])
        failed = order[-1:] if number == 1 and len(order) > 4 else []
        alive = [name for name in order if name not in failed]
        kept = alive[: len(verdicts) if number == 3 else max(2 * len(verdicts), len(alive) // 4)]
        beyond = [name for name in alive if name not in kept]
        worse = beyond[len(beyond) // 3 :] if number > 1 else []
        for name in order:
            reason = f"rung {number}: not among the {len(kept)} largest differences"
            if name in worse:
                reason = f"rung {number}: certainly not among the best {len(verdicts)}"
            if name not in failed:
                found[name] = candidate(name, DROPPED, means[name][:number], reason)
        for name in failed:
            found[name] = candidate(name, FAILED, (), "rung 1: seed 0 failed: out of memory")
        rungs.append(
            RungRecord(
                number,
                EPOCHS[number - 1],
                SEEDS[number - 1],
                len(order),
                kept=len(kept),
                worse=len(worse),
                beyond=len(beyond) - len(worse),
                failed=len(failed),
                runs=(len(order) + 1) * SEEDS[number - 1],
                done=(len(order) + 1) * SEEDS[number - 1],
                sd_training=None if number == 1 else 0.006,
                resolution=None if number == 1 else HALF[number - 2],
                base=0.41,
                folder=f"rung{number}",
            )
        )
        waiting = kept
    for name in waiting:
        found[name] = replace(found[name], status=FINALIST, reason=None)
    confirmed = [confirm(name, verdict) for name, verdict in zip(waiting, verdicts, strict=True)]
    return SearchRecord(
        info=INFO,
        base=BASE,
        candidates=tuple(found[name] for name in names),
        rungs=tuple(rungs),
        confirmed=tuple(confirmed),
        confirm_folder="confirm",
        confirm_detectable=(0.006, 0.011),
        finished=True,
    )


_ENDS = {
    "better": (0.009, 0.003, 0.015),
    "worse": (-0.009, -0.015, -0.003),
    "equivalent": (0.001, -0.003, 0.004),
    "inconclusive": (0.004, -0.006, 0.014),
}


def confirm(name: str, verdict: str | None) -> Confirmed:
    """Return a finalist whose interval gives a verdict."""
    if verdict is None:
        return Confirmed(name)
    mean, low, high = _ENDS[verdict]
    return Confirmed(name, mean, low, high, verdict, 0.004, 5, ("- [-1, 1, SE, [{init: identity}]] # 17",))


def unfinished(record: SearchRecord, rung: int = 2) -> SearchRecord:
    """Return a search that is interrupted in a rung; 0 is before the first run, 4 before the confirmation."""
    rungs = [
        one
        if one.number < rung
        else RungRecord(one.number, one.epochs, one.seeds, one.candidates, runs=one.runs, done=one.runs // 3)
        if one.number == rung
        else RungRecord(one.number, one.epochs, one.seeds, one.candidates)
        for one in record.rungs
    ]
    candidates = [
        one
        if len(one.estimates) < rung - 1 or one.status in (LIMIT, EXPORT, UNTRIED)
        else replace(
            one,
            status=one.status if rung > len(record.rungs) or len(one.estimates) < rung - 1 else RACING,
            reason=None,
            estimates=one.estimates[: max(rung - 1, 0)],
        )
        for one in record.candidates
    ]
    return replace(
        record,
        candidates=tuple(candidates),
        rungs=tuple(rungs),
        confirmed=(),
        confirm_folder=None,
        confirm_detectable=None,
        finished=False,
    )


def nothing_trained() -> SearchRecord:
    """Return a finished search whose limits leave no candidate."""
    record = make_record()
    candidates = [candidate(one.name, LIMIT, (), "latency +14.2% is over +10%") for one in record.candidates]
    return replace(
        record, candidates=tuple(candidates), rungs=(), confirmed=(), confirm_folder=None, confirm_detectable=None
    )
