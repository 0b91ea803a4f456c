"""Benchmark of matching and of the bootstrap over images, for a dataset of COCO's size.

python benchmarks/bootstrap.py [IMAGES]      5,000 images by default; 80 classes, 100 detections per image, one process

The number of objects per image is that of COCO's val2017 (7.4), with some classes far more common than others.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from simulation.scenes import Scene, to_matches

from yolo_attn.stats.bootstrap import REPLICATES, image_weights, replicate_metrics
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches

CLASSES, DETECTIONS, OBJECTS = 80, 100, 7.4

T = TypeVar("T")


def main() -> None:
    """Measure and print a table."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    rng = np.random.default_rng(0)
    frequency = 1.0 / np.arange(1, CLASSES + 1) ** 0.8
    scenes = [scene(rng, frequency / frequency.sum()) for _ in range(images)]
    print(f"{images:,} images, {CLASSES} classes, {DETECTIONS} detections per image, numpy {np.__version__}\n")
    print("| step | seconds | CPU seconds |\n|---|---:|---:|")
    matches = timed("match all images", lambda: to_matches(scenes, CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matches.npz"
        timed("save", lambda: matches.save(path))
        size = path.stat().st_size
        timed("load", lambda: Matches.load(path))
    numbers = timed("all metrics, once", lambda: evaluate(matches))
    weights = timed(f"weights of {REPLICATES:,} replicates", lambda: image_weights(images))
    before = resident()
    sample = timed(f"all metrics in {REPLICATES:,} replicates", lambda: replicate_metrics(matches, weights))
    print(f"\n{len(matches.gt_image):,} objects, {len(matches.det_image):,} detections, ", end="")
    print(f"{matches.hit[0, 0].sum():,} of them correct at IoU 0.5; file {size / 2**20:.1f} MiB")
    print(f"memory: peak {resident():,.0f} MiB, before the replicates {before:,.0f} MiB")
    main_metric = sample.metrics[:, 0]
    print(f"mAP50-95 {numbers['metrics']['mAP50-95']:.4f}, standard error {main_metric.std(ddof=1):.4f}")


def scene(rng: np.random.Generator, frequency: np.ndarray) -> Scene:
    """Return an image whose objects have several detections each; the remaining detections are false."""
    count = rng.poisson(OBJECTS)
    size = np.exp(rng.uniform(np.log(10), np.log(300), (count, 2)))
    corner = rng.uniform(0, 400, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    names = rng.choice(CLASSES, count, p=frequency)
    source = np.repeat(np.arange(count), 4)[:DETECTIONS]
    near = boxes[source] + rng.normal(0, 0.06, (len(source), 4)) * np.tile(size[source], 2)
    corner = rng.uniform(0, 400, (DETECTIONS - len(source), 2))
    far = np.concatenate([corner, corner + np.exp(rng.uniform(np.log(10), np.log(300), corner.shape))], axis=1)
    det_box = np.concatenate([near, far])
    det_box[:, 2:] = np.maximum(det_box[:, 2:], det_box[:, :2] + 1)
    det_class = np.r_[names[source], rng.choice(CLASSES, len(far), p=frequency)]
    score = rng.beta(1, 3, DETECTIONS) + np.r_[rng.beta(2, 3, len(near)), np.zeros(len(far))]
    return Scene(boxes, names, np.zeros(count, np.bool_), det_box, det_class, (score / 2).astype(np.float32))


def timed(step: str, work: Callable[[], T]) -> T:
    """Print the time of a step and return its result."""
    began, worked = time.perf_counter(), time.process_time()
    result = work()
    print(f"| {step} | {time.perf_counter() - began:.2f} | {time.process_time() - worked:.2f} |", flush=True)
    return result


def resident() -> float:
    """Return the peak memory of the process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
