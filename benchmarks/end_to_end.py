"""Benchmark of what layers add to whole models: import, build, transfer, placing, training, inference and studies.

python benchmarks/end_to_end.py                              all but studies, in minutes
python benchmarks/end_to_end.py device=0 imgsz=640 batch=16  training and inference on a GPU
python benchmarks/end_to_end.py parts=study epochs=5         a study of ten runs beside the same ten trainings

Keys: parts (import, build, transfer, place, train, predict, load, study), device, imgsz, batch, rounds, epochs.

Each line is a ratio to the same with the base, or to the same without yolo-attn: the median of pairs measured in turn
and its 10th and 90th percentile. Imports are processor times of processes.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

import yolo_attn
from benchmarks.speed.command import parse_device
from benchmarks.speed.timing import Clock, Run, interleaved, quantiles
from benchmarks.startup import seconds as processor_seconds
from yolo_attn.cli.words import parse_integer, parse_keys, without_dashes
from yolo_attn.data import resolve_data
from yolo_attn.errors import UserError
from yolo_attn.host.installation import LOGGER
from yolo_attn.host.repeatable import fix_workers, load_one_epoch
from yolo_attn.study.engine import compare
from yolo_attn.study.files import MODEL
from yolo_attn.study.job import Job
from yolo_attn.study.running.local import Child, LocalRunner, child_environment

BASE = "yolo11n.yaml"
VARIANTS = tuple(f"{BASE}+{layer}@neck" for layer in ("SE", "CBAM", "CA", "EMA", "SimAM"))
KEYS = ("parts", "device", "imgsz", "batch", "rounds", "epochs")
OBJECTS = 8  # in each image of a training step
SEEDS = 5
LOADERS = 8  # processes, as by default in Ultralytics
CPU = torch.device("cpu")


def main(words: list[str]) -> int:
    """Measure the chosen parts and print a line for each ratio."""
    try:
        keys = parse_keys(without_dashes(words), KEYS)
        chosen = keys.get("parts", "import,build,transfer,place,train,predict,load").split(",")
        if unknown := [name for name in chosen if name not in PARTS]:
            raise UserError(f"parts={unknown[0]}: use {', '.join(PARTS)}")
        numbers = {"imgsz": 320, "batch": 4, "rounds": 10, "epochs": 5}
        options = {key: parse_integer(keys, key, default) for key, default in numbers.items()}
        device = parse_device(keys.get("device", "cpu"))
    except UserError as error:
        print(f"end_to_end.py: {error}", file=sys.stderr)
        return 2
    print("| measured | ratio | p10 to p90 | |\n|---|---:|---:|---|")
    for name in chosen:
        for what, ratios, note in PARTS[name](device, **options):
            found = quantiles(ratios)
            print(f"| {what} | {found['median']:.3f} | {found['p10']:.3f} to {found['p90']:.3f} | {note} |", flush=True)
    return 0


Found = Iterator[tuple[str, list[float], str]]


def imports(device: torch.device, *, rounds: int, **_: int) -> Found:
    """Measure the import of both packages beside that of Ultralytics alone."""
    code = "from ultralytics import YOLO"
    times = _alternately(
        lambda: processor_seconds(sys.executable, code),
        lambda: processor_seconds(sys.executable, f"{code}; import yolo_attn"),
        rounds,
    )
    yield "import yolo_attn with Ultralytics", _ratios(times), f"{min(times['base']):.1f} s without"


def builds(device: torch.device, *, rounds: int, **_: int) -> Found:
    """Measure building a model YAML."""
    for variant in VARIANTS:
        yield _compare(f"build {variant}", lambda: YOLO(BASE), lambda variant=variant: YOLO(variant), rounds)


def transfers(device: torch.device, *, rounds: int, **_: int) -> Found:
    """Measure loading the tensors of a base."""
    source, target = YOLO(BASE), YOLO(BASE)
    for name in VARIANTS:
        variant = YOLO(name)
        yield _compare(
            f"load {name}",
            lambda: target.load(source.model),
            lambda variant=variant: variant.load(source.model),
            rounds,
        )


def placings(device: torch.device, *, rounds: int, **_: int) -> Found:
    """Measure placing a layer, beside building the base."""
    yield _compare(
        "place CBAM in the neck, beside a build",
        lambda: YOLO(BASE),
        lambda: yolo_attn.place(BASE, "CBAM", "neck"),
        rounds,
    )


def trainings(device: torch.device, *, imgsz: int, batch: int, rounds: int, **_: int) -> Found:
    """Measure training steps with the loss, without data loading and optimizer."""
    base = _step(BASE, device, imgsz, batch)
    for variant in VARIANTS:
        yield _compare(f"train {variant}", base, _step(variant, device, imgsz, batch), rounds, device, images=batch)


def _step(name: str, device: torch.device, imgsz: int, batch: int) -> Run:
    model: Any = YOLO(name).model.to(device).train()
    model.args = get_cfg()
    generator = torch.Generator().manual_seed(0)
    count = batch * OBJECTS
    images = {
        "img": torch.rand(batch, 3, imgsz, imgsz, generator=generator).to(device),
        "batch_idx": torch.arange(batch).repeat_interleave(OBJECTS).to(device),
        "cls": torch.zeros(count, 1, device=device),
        "bboxes": (torch.rand(count, 4, generator=generator) * 0.4 + 0.1).to(device),
    }

    def run() -> None:
        model.zero_grad()
        model(images)[0].sum().backward()

    return run


def predictions(device: torch.device, *, imgsz: int, rounds: int, **_: int) -> Found:
    """Measure the forward pass of one image through fused models."""
    image = torch.rand(1, 3, imgsz, imgsz, device=device)
    base = _forward(BASE, image)
    for variant in VARIANTS:
        yield _compare(f"predict {variant}", base, _forward(variant, image), rounds, device)


def _forward(name: str, image: torch.Tensor) -> Run:
    model: Any = YOLO(name).model.to(image.device).eval().fuse(verbose=False)

    def run() -> None:
        with torch.inference_mode():
            model(image)

    return run


def loadings(device: torch.device, *, imgsz: int, batch: int, rounds: int, epochs: int, **_: int) -> Found:
    """Measure the processor time of loading epochs of `digits` in a study, beside Ultralytics' loader.

    A study restarts the loader for each epoch. Ultralytics' one goes on with the next epoch while a model is validated,
    for which there is a second here.
    """
    data = check_det_dataset(resolve_data("digits"))
    settings = get_cfg(overrides={"imgsz": imgsz})
    images = build_yolo_dataset(settings, data["train"], batch, data, mode="train")

    def seconds(begin_epoch: Callable[[Any], None]) -> float:
        began = _processor_seconds()
        loader = build_dataloader(images, batch, LOADERS)
        fix_workers(loader, LOADERS)
        for _ in range(epochs):
            begin_epoch(loader)
            for _ in loader:
                pass
            time.sleep(1)
        loader.reset()  # the time of processes counts when they have ended
        return _processor_seconds() - began

    times = _alternately(lambda: seconds(lambda loader: None), lambda: seconds(load_one_epoch), rounds)
    note = f"{len(images)} images in batches of {batch}, {epochs} epochs"
    yield f"load {LOADERS} processes, beside Ultralytics' loader", _ratios(times), note


def studies(device: torch.device, *, epochs: int, **_: int) -> Found:
    """Measure a study of ten runs, one at a time, beside trainings of the same models and seeds by Ultralytics.

    Before each run of the study its training is executed as a command of Ultralytics, and then the validation of its
    last checkpoint on the images that the study evaluates, so that a change of the machine's load affects all of them.
    The study is everything else: its runs, and what it plans, writes and measures itself.
    """
    keys = {"data": "digits", "recipe": "digits", "epochs": epochs, "device": device.index or 0}
    if device.type == "cpu":
        keys["device"] = "cpu"
    arms = {"base": BASE, "variants": "SE@neck", "pretrain": 0, "seeds": SEEDS, "workers": 1}
    resolve_data(str(keys["data"]))  # made once, by whoever needs it first
    runner = _InTurn(keys["device"] != "cpu")
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as stream:  # noqa: PTH123
        began = runner.now()
        compare({**keys, **arms, "project": folder}, runner, stream)
        study = runner.now() - began - runner.train - runner.val
    note = f"{study:.0f} s; {runner.train:.0f} s of trainings, {runner.val:.0f} s of validations"
    yield f"study of {2 * SEEDS} runs, beside trainings", [study / runner.train], note
    yield "the same, beside trainings and validations", [study / (runner.train + runner.val)], note


class _InTurn(LocalRunner):
    """Executes each run of a study after the same training and validation by commands, whose seconds it counts."""

    def __init__(self, gpu: bool) -> None:
        super().__init__()
        self.now = time.perf_counter if gpu else _processor_seconds
        self.train = self.val = 0.0

    def start(self, folder: Path, threads: int) -> Child:
        """Execute the commands, then start the run."""
        job = Job.read(folder)
        common = {"data": job.data, "device": job.device, "project": folder / "alone", "exist_ok": True}
        recipe = {**job.inputs.recipe, **common, "seed": job.seed}
        self.train += self._seconds("train", {**recipe, "model": folder / MODEL}, threads)
        kept = {key: recipe[key] for key in ("imgsz", "batch", "split") if key in recipe}
        last = folder / "alone" / "train" / "weights" / "last.pt"
        self.val += self._seconds("val", {**kept, **common, "model": last, "plots": False}, threads)
        return super().start(folder, threads)

    def _seconds(self, verb: str, keys: dict[str, Any], threads: int) -> float:
        words = " ".join(["yolo", verb, *(f"{key}={value}" for key, value in keys.items())])
        began = self.now()
        subprocess.run(
            [sys.executable, "-c", f"import yolo_attn; from ultralytics.cfg import entrypoint; entrypoint({words!r})"],
            env=child_environment(threads),
            check=True,
            capture_output=True,
        )
        return self.now() - began


def _processor_seconds() -> float:
    """Return the processor time of this process and of those that have ended, which excludes what others do."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _compare(
    what: str, base: Run, variant: Run, rounds: int, device: torch.device = CPU, *, images: int = 1
) -> tuple[str, list[float], str]:
    times: dict[str, list[float]] = {"base": [], "variant": []}
    while len(times["base"]) < rounds:
        for name, found in interleaved({"base": base, "variant": variant}, Clock(device), 0).items():
            times[name] += found
    milliseconds = quantiles(times["variant"])["median"]
    speed = f"{1000 * images / milliseconds:.1f} images/s" if images > 1 else f"{milliseconds:.1f} ms"
    return what, _ratios(times), speed


def _alternately(base: Callable[[], float], variant: Callable[[], float], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of both, which take turns in alternating order."""
    runs = {"base": base, "variant": variant}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            times[name].append(runs[name]())
    return times


def _ratios(times: dict[str, list[float]]) -> list[float]:
    return [variant / base for base, variant in zip(times["base"], times["variant"], strict=True)]


PARTS: dict[str, Callable[..., Found]] = {
    "import": imports,
    "build": builds,
    "transfer": transfers,
    "place": placings,
    "train": trainings,
    "predict": predictions,
    "load": loadings,
    "study": studies,
}

if __name__ == "__main__":
    LOGGER.setLevel(logging.WARNING)  # its lines would be among those of the table
    sys.exit(main(sys.argv[1:]))
