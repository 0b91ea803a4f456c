"""`yolo-attn search`: which layer, at which site, under limits of costs and a budget."""

from __future__ import annotations

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_keys
from yolo_attn.system.shell import join_words

__all__ = ["COMMAND"]


def _help() -> str:
    from yolo_attn.registry import FAMILIES
    from yolo_attn.selection.limits import COSTS
    from yolo_attn.selection.specification import (
        CONFIRM_SEEDS,
        DEFAULT_NAME,
        DEFAULT_PROJECT,
        DEFAULT_SHARE,
        MOST_CONFIRM_SEEDS,
        MOST_FINALISTS,
    )

    return f"""\
yolo-attn search [base=MODEL] [data=DATA] [layers=A,B] [at=SITES] [limit=latency:+10%,params:+5%] [runs=N | hours=H]
                 [plan=True] [project={DEFAULT_PROJECT}] [name={DEFAULT_NAME}] [key=value]

Finds the layer and the site that help a base most. All candidates start from the same base at the identity, with the
same seeds, and race through rungs of fewer candidates with more seeds. The rungs train and evaluate a split of the
training images. At most {MOST_FINALISTS} finalists meet the base in a confirming study with fresh seeds, on images that
the search has not seen. Only the confirmation has verdicts: the largest of many estimates is always too large.

What is searched
  base          a checkpoint (yolo11n.pt), or a model YAML with pretrain=EPOCHS, as in compare
  data          as in compare
  layers        names of layers, with options in brackets; families ({", ".join(FAMILIES)});
                all (the default); files with custom layers (my_layers.py)
  at            sites as in place; by default neck, each of its levels, backbone.P4, backbone.P5, backbone.end, and
                inside the block that the base has most of
  pairs         True also searches pairs of the best placements
  the rest      Ultralytics' training arguments, and pretrain, lr_attention, margin, groups, recipe, device, threads,
                retry, workers, runner, address, gpus and trust as in compare

What it may cost
  limit         largest costs: {", ".join(COSTS)}, relative to the base (latency:+10%) or absolute (params:3M)
  export        a format, such as onnx: candidates that it cannot carry are not tried
  runs          largest number of runs, the confirmation included (default: about twice as many as candidates)
  hours         time of the search, instead of runs=
  plan          True measures the costs of the candidates, prints the plan and trains nothing

How it is decided
  share         share of the training images that the search evaluates (default: {DEFAULT_SHARE:g}); with groups=, whole
                groups
  finalists     candidates that are confirmed (default: {MOST_FINALISTS}, which is also the most)
  seeds         number of seeds of the confirmation (default: {CONFIRM_SEEDS}, and up to
                {MOST_CONFIRM_SEEDS} if the runs of the rungs are noisy)
  controls      controls of the confirmation, as in compare

The same command resumes a search, half-trained runs included, and repeats no run; with a larger runs= or hours= it
continues a finished one. The folder contains report.html, search.json and search.csv, a study for each rung, and the
confirming study with a report of its own.
"""


def _run(words: list[str]) -> int:
    from yolo_attn.selection.engine import search

    return search(parse_keys(words), command=join_words(["yolo-attn", "search", *words])).exit_status


COMMAND = Command(
    name="search",
    run=_run,
    summary="find the layer and the site that help a base most, under limits and a budget",
    help=_help,
    passes_on=True,
)
