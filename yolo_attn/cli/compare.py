"""`yolo-attn compare`: a base, variants and controls, trained and compared."""

from __future__ import annotations

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_keys

__all__ = ["COMMAND"]


def _help() -> str:
    from yolo_attn.graph.sites import SITE_KINDS
    from yolo_attn.stats.compare import MIN_SEEDS
    from yolo_attn.stats.matches import MAX_DETECTIONS
    from yolo_attn.study.specification.controls import CONTROLS
    from yolo_attn.study.specification.design import DEFAULT_MAX_SEEDS
    from yolo_attn.study.specification.study import DEFAULT_NAME, DEFAULT_PROJECT, DEFAULT_STUDY

    default = {
        key: ",".join(value) if isinstance(value, (list, tuple)) else value for key, value in DEFAULT_STUDY.items()
    }
    sites = ", ".join(kind.form for kind in reversed(SITE_KINDS))
    controls = "\n             ".join(f"{name} ({control.summary})" for name, control in CONTROLS.items())
    return f"""\
yolo-attn compare [study=FILE] [base=MODEL] [data=DATA] [variants=A,B] [controls={",".join(CONTROLS)}] [seeds=N] \
[workers=N]
                  [project={DEFAULT_PROJECT}] [name={DEFAULT_NAME}] [key=value]

Trains the base, every variant and every control once for each seed, each run in its own process, from common initial
weights, and writes report.html, results.json, .csv, .md and .tex. The page exists from the first finished run on and is
updated during the study. Without arguments, the study takes a quarter of an hour on two CPU cores:
  base={default["base"]} data={default["data"]} variants={default["variants"]} controls={default["controls"]} \
seeds={default["seeds"]}

  base       a model YAML (yolo11n.yaml) or a checkpoint (yolo11n.pt)
  pretrain   epochs of the base's own training, which comes first; every arm is then fine-tuned from the trained base.
             Keys of the optimization (epochs, lr0, ...) belong to the fine-tuning, all others to both trainings; in a
             study file, pretraining: {{lr0: 0.01}} has the base's own
  bases      number of trained bases, from which the seeds start in turn: 1, or 3 and more
  variants   Layer@site on the base, or a model YAML: SE@neck,CBAM[reduction=8]@backbone.P5,yolo11n-gam.yaml
             sites: {sites}
  controls   {controls}
  seeds      a number (3 means 0,1,2) or a list (0,7,42); with fewer than {MIN_SEEDS} there is no verdict
             auto trains more seeds of undecided arms: {MIN_SEEDS} to max_seeds={DEFAULT_MAX_SEEDS}, within hours=H
  data       digits, a name from datasets.yaml, the path of a data YAML, or a folder with one folder per class
  groups     images that belong together, such as frames of a video: folder, or a pattern of file names, (video\\d+)_
  lr_attention  factor for the learning rate of attention layers (default: 1)
  recipe     the training arguments of a dataset in datasets.yaml (with data=digits its own is the default)
  exist_ok   True adds to the study in the folder
  retry      True runs failed runs again
  threads    CPU threads of a run (default: the cores divided by the concurrent runs); a study keeps its first value
  device     as in Ultralytics: cpu, mps, 0, or 0,1 for multi-GPU training inside each run
  layers     Python files with custom layers: layers=my_layers.py
  workers    concurrent runs on this machine, if memory allows (default: one for each GPU, or for each core)
  runner     ray sends the runs to a Ray cluster, address= as in Ray (pip install "yolo-attn[ray]")
  the rest   Ultralytics' training arguments: epochs=100 imgsz=640 batch=16 lr0=0.01 ...
             max_det= also limits the evaluated detections of a class in an image (default {MAX_DETECTIONS})

Before training, the expected time and the minimum detectable difference are printed. The same command resumes an
interrupted study, half-trained runs included, and repeats no run. A study file contains base, data, variants, controls,
seeds and train: {{epochs: 100, ...}}; in it, train: {{workers: 8}} means Ultralytics' data loaders.
"""


def _run(words: list[str]) -> int:
    from yolo_attn.study import compare

    return compare(parse_keys(words), command=" ".join(["yolo-attn", "compare", *words])).exit_status


COMMAND = Command(
    name="compare",
    run=_run,
    summary="train a base, variants and controls with common seeds; verdicts with intervals",
    help=_help,
    passes_on=True,
)
