"""`yolo-attn compare`: a base, variants and controls, trained and compared."""

from __future__ import annotations

import textwrap

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_keys
from yolo_attn.system.shell import join_words

__all__ = ["COMMAND"]


def _help() -> str:
    from yolo_attn.graph.sites import SITE_KINDS
    from yolo_attn.stats.compare import MIN_SEEDS
    from yolo_attn.stats.matches import MAX_DETECTIONS
    from yolo_attn.study.specification.controls import CONTROLS
    from yolo_attn.study.specification.design import DEFAULT_MAX_SEEDS, FINE_TUNING_LR_ATTENTION, Design
    from yolo_attn.study.specification.study import DEFAULT_NAME, DEFAULT_PROJECT, DEFAULT_STUDY

    words = (f"{key}={','.join(value) if isinstance(value, list) else value}" for key, value in DEFAULT_STUDY.items())
    default = textwrap.fill(" ".join(words), 118, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    listed = ", ".join(kind.form for kind in reversed(SITE_KINDS))
    sites = textwrap.fill(listed, 97).replace("\n", "\n                ")
    controls = "\n                ".join(f"{name} ({control.summary})" for name, control in CONTROLS.items())
    return f"""\
yolo-attn compare [study=FILE] [base=MODEL] [data=DATA] [variants=A,B] [controls={",".join(CONTROLS)}] [pretrain=EPOCHS]
                  [seeds=N] [margin=POINTS] [plan=True] [project={DEFAULT_PROJECT}] [name={DEFAULT_NAME}] [key=value]

Trains the base, every variant and every control once for each seed, each run in its own process, from common initial
weights, and writes report.html, results.json, .csv, .md and .tex. The page exists from the first finished run on and is
updated during the study. Without arguments, the study takes about ten minutes on two CPU cores:
{default}

What is compared
  base          a model YAML (yolo11n.yaml) or a checkpoint (yolo11n.pt), which all arms start from
  pretrain      epochs of the base's own training, which comes first (default: 15 without base=, else 0); every arm is
                then fine-tuned from the trained base. Otherwise arms start from the checkpoint given with base=, or
                are trained from scratch, where their differences are many times noisier. Keys of the optimization
                (epochs, lr0, ...) belong to the fine-tuning, all others to both trainings; in a study file,
                pretraining: {{lr0: 0.01}} has the base's own
  bases         number of trained bases, from which the seeds start in turn: 1, or {MIN_SEEDS} and more
  variants      Layer@site on the base, or a model YAML: SE@neck,CBAM[reduction=8]@backbone.P5,yolo11n-gam.yaml
                sites: {sites}
                with [init=identity] a layer starts as y = x, and a trained base keeps its accuracy
  controls      {controls}
  lr_attention  learning rate of the attention layers, relative to that of the other layers (default:
                {FINE_TUNING_LR_ATTENTION:g} where arms are fine-tuned from a trained base, else 1)
  data          digits, a name from datasets.yaml, the path of a data YAML, or a folder with one folder per class
  recipe        the training arguments of a dataset in datasets.yaml (with data=digits its own is the default)
  the rest      Ultralytics' training arguments: epochs=100 imgsz=640 batch=16 lr0=0.01 ...
                max_det= also limits the evaluated detections of a class in an image (default: {MAX_DETECTIONS})

How it is decided
  seeds         a number (3 means 0,1,2) or a list (0,7,42); with fewer than {MIN_SEEDS} there is no verdict.
                auto: {MIN_SEEDS}, then one more for each undecided arm, up to max_seeds (default: \
{DEFAULT_MAX_SEEDS}), or until
                hours=H have passed; the error rate holds for all looks together
  margin        smallest difference that matters, in points (default: {Design.margin:g}): "equivalent" differs by less
  no_worse      True adds the verdict "no worse" for arms that are not worse by the margin
  groups        images that belong together, such as frames of a video: folder, or a pattern of file names, (video\\d+)_
  plan          True trains nothing and prints runs, time, and the detectable difference for several numbers of seeds
  detect        with plan=True: a difference in points, for which the cheapest study is named

How it runs
  exist_ok      True adds to the study in the folder
  retry         True runs failed runs again
  workers       concurrent runs on this machine, if memory allows (default: one for each GPU; on a CPU the cores
                divided by threads=)
  threads       CPU threads of a run (default: the cores divided by workers= or the number of GPUs, so on a CPU all of
                them; 1 for yolo11n.yaml on digits); a study keeps its first value
  device        as in Ultralytics: cpu, mps, 0, or 0,1 for multi-GPU training inside each run
  layers        Python files with custom layers: layers=my_layers.py
  runner        ray sends the runs to a Ray cluster, address= as in Ray (pip install "yolo-attn[ray]")
  gpus          with runner=ray: the part of a GPU for each run, such as 0.25 for four runs at once on one GPU

The verdict of an arm is read off the interval of its difference to the base, corrected for the number of variants:
better, worse, equivalent or inconclusive. Before training, the expected time and the minimum detectable difference are
printed. The same command resumes an interrupted study, half-trained runs included, and repeats no run. A study file
contains these keys, and train: {{epochs: 100, ...}}; in it, train: {{workers: 8}} means Ultralytics' data loaders.
"""


def _run(words: list[str]) -> int:
    from yolo_attn.study.engine import compare

    return compare(parse_keys(words), command=join_words(["yolo-attn", "compare", *words])).exit_status


COMMAND = Command(
    name="compare",
    run=_run,
    summary="train a base, variants and controls with common seeds; verdicts with intervals",
    help=_help,
    passes_on=True,
)
