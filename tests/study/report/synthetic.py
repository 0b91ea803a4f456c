"""A synthetic study folder: arms of known quality, unusual names, failed runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from yolo_attn.stats import npz
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches, MatchesBuilder
from yolo_attn.stats.verdicts import read_verdict
from yolo_attn.study.files import REPORT
from yolo_attn.study.report import write_reports
from yolo_attn.study.report.sources import remember_dataset
from yolo_attn.study.results.records import StudyResults
from yolo_attn.study.results.storage import read_results
from yolo_attn.study.store import slug

SIDE = 160
MARGIN = 0.03
MAPPED = ("0000.png", "0001.png", "<i>gone.png")  # images with maps; the last one was not evaluated
CLASSES = (*map(str, range(10)), "<b>& rare")
SCRIPT = """<script>alert("x")</script> & 'quotes'"""
LONG = "yolo11n-CBAM.neck.P3.P4.P5-" + "a-name-that-goes-on-and-on-" * 3 + "without-a-space-to-the-end"
CHINESE = "注意力@neck 中文"
LATEX = r"broken_arm 50% #1 {x} $y$ a\b ~^"


class Quality(NamedTuple):
    """Quality of an arm; None for one that fails."""

    kind: str
    recall: float | None
    cost: float


ARMS = {
    "yolo11n": Quality("baseline", 0.62, 1.0),
    "SE@neck": Quality("variant", 0.68, 1.004),
    LONG: Quality("variant", 0.63, 1.02),
    SCRIPT: Quality("variant", 0.53, 1.11),
    CHINESE: Quality("variant", 0.65, 1.04),
    LATEX: Quality("variant", None, 1.0),
    "null": Quality("control", 0.62, 1.0),
    "width": Quality("control", 0.64, 1.11),
}


def parsed(data: dict[str, Any]) -> StudyResults:
    """Return the content of a results.json as records."""
    return StudyResults.from_json(data)


def stored(folder: Path) -> dict[str, Any]:
    """Return the content of a study's results.json."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def render(folder: Path, out: Path | None = None) -> Path:
    """Write the reports of a study from its results.json, and return the page."""
    out = out or folder
    out.mkdir(exist_ok=True)
    write_reports(folder, read_results(folder), out=out)
    return out / REPORT


def make_study(
    folder: Path,
    *,
    seeds: int = 5,
    arms: Sequence[str] = tuple(ARMS),
    images: int = 40,
    latency: bool = True,
    validated: bool = True,
    photos: bool = True,
    maps: bool = True,
) -> dict[str, Any]:
    """Write a study folder with its results.json, and return the content of the latter."""
    scenes = [_scene(index) for index in range(images)]
    root = folder / "photos"
    if photos:
        root.mkdir(parents=True, exist_ok=True)
        for name, scene in scenes:
            _draw(root / name, scene)
        data_yaml = {"path": str(folder.resolve()), "train": "photos", "val": "photos", "names": list(CLASSES)}
        (folder / "data.yaml").write_text(yaml.safe_dump(data_yaml), encoding="utf-8")
        remember_dataset(folder, str((folder / "data.yaml").resolve()), "val")
    found: dict[str, list[_Evaluated | None]] = {}
    variants = sum(ARMS[name].kind == "variant" for name in arms)
    entries = []
    for index, name in enumerate(arms):
        with_maps = maps and index in (1, 2)
        runs = [
            _run(folder, name, (index, seed), scenes, validated=validated, maps=with_maps and seed == 0)
            for seed in range(seeds)
        ]
        found[name] = [evaluated for _, evaluated in runs]
        entries.append(
            _entry(
                name,
                [run for run, _ in runs],
                found[name],
                found[arms[0]],
                comparisons=variants if ARMS[name].kind == "variant" else 1,
                latency=latency and index != 5,
            )
        )
    objects = _objects(found[arms[0]])
    data = {
        "schema": 2, "baseline": arms[0], "data": "digits", "data_digest": "0123456789abcdef", "task": "detect",
        "recipe": {"epochs": 20, "imgsz": 160, "optimizer": "SGD", "lr0": 0.01},
        "versions": {"yolo-attn": "0.1.0", "ultralytics": "8.4.0", "torch": "2.9.0"},
        "weights": "yolo11n.pt", "seeds": list(range(seeds)), "device": "cpu", "threads": 2,
        "images": images, "instances": sum(objects.values()),
        "command": "yolo-attn compare base=yolo11n.yaml data=digits 'variants=SE@neck,CBAM@neck' seeds=5 epochs=20",
        "made": "2026-11-20T12:00:00Z", "bootstrap": {"replicates": 1000, "seed": 0},
        "minimum_detectable": {"mAP50-95": 0.021} if seeds > 2 else None,
        "detectable_range": [0.017, 0.032] if seeds > 2 else None,
        "noise": {"training": 0.012, "images": 0.006, "bases": None, "df": 9.0} if seeds > 2 else None,
        "margin": MARGIN, "no_worse": False, "max_seeds": None, "pretrain": None, "lr_attention": None, "groups": None,
        "pairs": _pairs(found), "bases": [], "looks": [], "notes": ["A note & <em>its</em> sign"],
        "arms": entries,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(data), encoding="utf-8")
    return data


# --- images and what is found on them -------------------------------------------------------------------------------


Scene = tuple[NDArray[np.float64], NDArray[np.int64]]  # boxes, classes


class _Evaluated(NamedTuple):
    """The matches of a run and their metrics."""

    matches: Matches
    metrics: dict[str, float]
    per_class: dict[str, float]


def _scene(index: int) -> tuple[str, Scene]:
    dice = np.random.default_rng([7, index])
    count = int(dice.integers(3, 8))
    size = dice.choice([14.0, 24.0, 40.0, 100.0], count, p=[0.3, 0.3, 0.3, 0.1])
    corner = dice.uniform(0, SIDE - size[:, None], (count, 2))
    classes = dice.choice(11, count, p=[*[0.097] * 10, 0.03])
    return f"{index:04}.png", (np.concatenate([corner, corner + size[:, None]], 1), classes)


def _draw(path: Path, scene: Scene) -> None:
    dice = np.random.default_rng(int(path.stem))
    image = cv2.resize(dice.integers(60, 190, (5, 5, 3), dtype=np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for (left, top, _, bottom), name in zip(scene[0], scene[1], strict=True):
        scale = (bottom - top) / 28
        cv2.putText(
            image, str(name), (int(left + 2), int(bottom - 2)), 0, scale, (240, 240, 230), max(1, int(2 * scale))
        )
    cv2.imencode(".png", image)[1].tofile(path)


def _find(scenes: Sequence[tuple[str, Scene]], recall: float, key: Sequence[int]) -> Matches:
    """Return the matches of a detector that finds each object with a probability, correlated over the arms."""
    builder = MatchesBuilder(CLASSES)
    for index, (name, (boxes, classes)) in enumerate(scenes):
        dice = np.random.default_rng([*key, index])
        luck = 0.5 * np.random.default_rng([9, index]).uniform(size=len(boxes)) + 0.5 * dice.uniform(size=len(boxes))
        seen = luck < recall
        shift = dice.normal(0, 0.04, (int(seen.sum()), 4)) * (boxes[seen, 2:3] - boxes[seen, :1])
        wrong = dice.uniform(0, SIDE - 30, (int(dice.poisson(0.8)), 2))
        found = np.concatenate([boxes[seen] + shift, np.concatenate([wrong, wrong + 30], 1)])
        names = np.concatenate([classes[seen], dice.integers(0, 11, len(wrong))])
        scores = np.concatenate([dice.uniform(0.3, 0.95, int(seen.sum())), dice.uniform(0.05, 0.5, len(wrong))])
        builder.add_image(
            name, gt_class=classes, gt_area=_area(boxes), gt_box=boxes, det_class=names, det_score=scores,
            det_area=_area(found), det_box=found, similarity=_iou(boxes, found),
        )  # fmt: skip
    return builder.build()


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    overlap = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.prod(np.clip(overlap, 0, None), axis=2)
    return common / (_area(a)[:, None] + _area(b)[None] - common)


# --- runs and arms --------------------------------------------------------------------------------------------------


def _run(
    folder: Path, name: str, key: tuple[int, int], scenes: Sequence[tuple[str, Scene]], *, validated: bool, maps: bool
) -> tuple[dict[str, Any], _Evaluated | None]:
    arm, (index, seed) = ARMS[name], key
    run = {
        "seed": seed,
        "status": "done",
        "error": None,
        "epochs": 20,
        "folder": f"runs/{slug(name)}-s{seed}-{index:08x}",
    }
    nothing = {"seconds": None, "metrics": None, "metrics_best": None, "metrics_ultralytics": None, "memory_mib": None}
    if arm.recall is None:
        error = "RowError: row 17: 'x' <i>has</i> no channels | 50 % of \\ them"
        return {**run, **nothing, "status": "failed", "error": error, "epochs": None, "folder": None}, None
    if name == CHINESE and seed == 3:
        return {**run, **nothing, "status": "interrupted", "error": "killed by signal 9"}, None
    own = folder / str(run["folder"])
    (own / "train").mkdir(parents=True)
    dice = np.random.default_rng([index, seed])
    matches = _find(scenes, arm.recall + dice.normal(0, 0.012), [index, seed])
    matches.save(own / "matches.npz")
    measured = evaluate(matches)
    metrics = {key: _known(value) for key, value in measured["metrics"].items()}
    (own / "train" / "results.csv").write_text(_training(arm.recall, dice, validated), encoding="utf-8")
    if maps:
        _save_maps(own / "maps.npz", dice)
    result = {
        "status": "done",
        "key": f"{index}-{seed}",
        "params": int(2_591_790 * arm.cost),
        "gflops": 0.253 * arm.cost,
    }
    run |= {
        "seconds": 100.0 + 10 * arm.cost + seed,
        "metrics": metrics,
        "metrics_best": {key: value and value + 0.004 for key, value in metrics.items()},
        "metrics_ultralytics": {**{key: metrics[key] for key in Matches.metrics[:3]}, "precision": 0.8, "recall": 0.7},
        "memory_mib": {"process": 1000.0 + 20 * index, "cuda": None},
        "epochs": 19 if name == LONG and seed == 1 else 20,
    }
    (own / "result.json").write_text(json.dumps({**run, **result, "began": 1.7e9, "wall_seconds": 120.0}), "utf-8")
    return run, _Evaluated(matches, measured["metrics"], measured["per_class"])


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _training(recall: float, dice: np.random.Generator, validated: bool) -> str:
    lines = ["    epoch,  train/box_loss, train/cls_loss, train/dfl_loss, metrics/mAP50(B), metrics/mAP50-95(B)"]
    for epoch in range(1, 21):
        fall = math.exp(-epoch / 6)
        losses = [start * (0.4 + 0.6 * fall) + dice.normal(0, 0.02) for start in (2.0, 3.0, 1.2)]
        reached = recall * 0.7 * (1 - fall) + dice.normal(0, 0.005) if validated else 0.0
        lines.append(",".join(f"{value:>15.5g}" for value in (epoch, *losses, 1.4 * reached, reached)))
    return "\n".join(lines) + "\n"


def _save_maps(path: Path, dice: np.random.Generator) -> None:
    """Write maps as a run does: three layers with maps and one with channel values."""
    layers = [("17", 17, 20, "map"), ("21", 21, 10, "map"), ("25", 25, 5, "map"), ("25.1", 25, 0, "channels")]
    arrays: dict[str, Any] = {f"image_{image}": np.array(name) for image, name in enumerate(MAPPED)}
    header = []
    for key, row, size, kind in layers:
        arrays |= {f"name_{key}": np.array("SE <gate>"), f"range_{key}": np.array([0, 1], np.float32)}
        for image in range(3):
            values = cv2.resize(dice.uniform(0, 1, (4, 4)), (size, size)) if size else dice.uniform(0, 1, (1, 64))
            arrays[f"map_{key}_{image}"] = np.clip(values, 0, 1).astype(np.float16)
        statistics = {"mean": 0.5, "dead": kind == "channels"}
        header.append({"key": key, "row": row, "unit": "gate", "kind": kind, "statistics": statistics})
    npz.save(path, {"version": 1, "images": 3, "layers": header, "without": []}, arrays)


def _objects(runs: Sequence[_Evaluated | None]) -> dict[str, int]:
    known = next(run.matches for run in runs if run)
    return dict(zip(known.classes, known.counts(), strict=True))


def _entry(
    name: str,
    runs: list[dict[str, Any]],
    found: list[_Evaluated | None],
    base: list[_Evaluated | None],
    *,
    comparisons: int,
    latency: bool,
) -> dict[str, Any]:
    arm = ARMS[name]
    known = [result for result in found if result]
    pairs = [(mine, other) for mine, other in zip(found, base, strict=True) if mine and other]
    compared = bool(pairs) and arm.kind != "baseline"
    delta = {
        metric: _difference([(a.metrics[metric], b.metrics[metric]) for a, b in pairs], comparisons)
        for metric in Matches.metrics
    }
    count = _objects(base)
    milliseconds = {"median": 12 * arm.cost, "p10": 11.8 * arm.cost, "p90": 12.5 * arm.cost, "device": "cpu"}
    return {
        "name": name, "kind": arm.kind, "model": None, "params": int(2_591_790 * arm.cost) if known else None,
        "gflops": 0.253 * arm.cost if known else None, "latency_ms": milliseconds if latency else None,
        "seconds": 110.0 if known else None,
        "memory_mib": {"process": 1000.0, "cuda": None} if known else None, "runs": runs,
        "metrics": {metric: _summary([result.metrics[metric] for result in known]) for metric in Matches.metrics},
        "metrics_best": {metric: {"mean": 0.5, "sd": None, "ci95": None} for metric in Matches.metrics},
        "per_class": {
            label: {
                **_summary([result.per_class[label] for result in known]),
                "instances": count[label],
                "delta": _difference([(a.per_class[label], b.per_class[label]) for a, b in pairs])
                if compared else None,
            }
            for label in CLASSES
        } if known else {},
        "delta": delta if compared else None,
        "verdict": _verdict(delta["mAP50-95"]) if compared else None,
        "transferred": [480, 499] if name == "SE@neck" else None,
    }  # fmt: skip


def _summary(values: Sequence[float]) -> dict[str, Any]:
    known = [value for value in values if math.isfinite(value)]
    mean = sum(known) / len(known) if known else None
    sd = float(np.std(known, ddof=1)) if len(known) > 1 else None
    wide = None if sd is None or mean is None else 2.8 * sd / math.sqrt(len(known)) + 0.01
    return {"mean": mean, "sd": sd, "ci95": None if wide is None or mean is None else [mean - wide, mean + wide]}


def _difference(pairs: Sequence[tuple[float, float]], comparisons: int = 1) -> dict[str, Any]:
    """Return a difference over seeds, with the interval that holds for a number of comparisons together."""
    summary = _summary([mine - base for mine, base in pairs])
    mean, interval = summary["mean"], summary["ci95"]
    level = 1 - 0.05 / comparisons
    found = {
        **{"mean": mean, "ci95": interval, "interval": None, "level": None, "p": None, "p_adjusted": None},
        **{"p_better": None, "sd_training": summary["sd"], "sd_bases": None, "se_images": 0.005, "seeds": len(pairs)},
    }
    if mean is None or interval is None or len(pairs) < 3:
        return found
    error = (interval[1] - interval[0]) / 2 / 1.96
    half = error * NormalDist().inv_cdf((1 + level) / 2)
    above = NormalDist().cdf(mean / error)
    p = 2 * min(above, 1 - above)
    return found | {
        **{"interval": [mean - half, mean + half], "level": level},
        **{"p": p, "p_adjusted": min(1.0, comparisons * p), "p_better": above},
    }


def _verdict(found: dict[str, Any]) -> str | None:
    return read_verdict(found["interval"], MARGIN) if found["interval"] else None


def _pairs(found: dict[str, list[_Evaluated | None]]) -> list[dict[str, Any]]:
    """Return the differences of the variants to the width control and to each other."""
    variants = [name for name in found if ARMS[name].kind == "variant"]
    families = [
        [(name, "width") for name in variants if "width" in found],
        [(one, other) for number, one in enumerate(variants) for other in variants[number + 1 :]],
    ]
    pairs = []
    for family in families:
        for name, reference in family:
            common = [(a, b) for a, b in zip(found[name], found[reference], strict=True) if a and b]
            values = [tuple(run.metrics["mAP50-95"] for run in pair) for pair in common]
            if values:
                difference = _difference(values, len(family))
                pairs.append(
                    {"arm": name, "reference": reference, "difference": difference, "verdict": _verdict(difference)}
                )
    return pairs
