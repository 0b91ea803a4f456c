"""File names in a study's folder.

    study.yaml                     base, variants, controls, seeds, data and recipe; can be given as study=FILE
    store.json                     schema, package versions, threads and device of the study
    layers/                        source of the study's custom layers
    runs/<arm>-s<seed>-<key>/      one folder per run
        run.json                   the job: what to train and with which inputs
        model.yaml                 the model
        layers/                    source of the run's custom layers
        train.log                  output of the run's process
        state.pt                   the training state from which an interrupted run resumes; removed when it is done
        train/                     Ultralytics' output, with weights/last.pt and weights/best.pt
        matches.npz                predictions of last.pt with the labels, image by image; the source of all statistics
        draws.npz                  bootstrap replicates of matches.npz, sealed for this user; can be deleted
        maps.npz                   attention maps of a few images
        result.json                written last, sealed for this user: the run is done or has failed
    dataset.json                   the dataset of the report's images, sealed for this user
    looks.json                     all evaluations at which verdicts were written
    latency.json                   latency of each arm, measured when all runs are done
    results.json .csv .md .tex     the results, updated after every run
    results.schema.json            JSON Schema of results.json
    report.html                    the report, available from the first finished run on

Every file is written atomically. One process at a time works in the folder.
"""

from __future__ import annotations

__all__ = [
    "BEST_WEIGHTS",
    "BOOTSTRAP",
    "DATASET",
    "JOB",
    "LAST_WEIGHTS",
    "LATENCY",
    "LAYERS",
    "LOG",
    "LOOKS",
    "MAPS",
    "MATCHES",
    "MODEL",
    "OUTPUTS",
    "REPORT",
    "RESULT",
    "RESULTS",
    "RESULTS_CSV",
    "RESULTS_LATEX",
    "RESULTS_MARKDOWN",
    "RESULTS_SCHEMA",
    "RUNS",
    "SEARCH",
    "STORE",
    "STUDY",
    "TRAIN",
    "TRAINING_STATE",
    "TRAIN_ARGUMENTS",
    "TRAIN_TABLE",
]

SEARCH = "search.yaml"
"""The file that a folder with a search contains instead of a study's."""

# In the study's folder.
STUDY = "study.yaml"
STORE = "store.json"
RUNS = "runs"
DATASET = "dataset.json"
LATENCY = "latency.json"
LOOKS = "looks.json"
RESULTS = "results.json"
RESULTS_CSV = "results.csv"
RESULTS_MARKDOWN = "results.md"
RESULTS_LATEX = "results.tex"
RESULTS_SCHEMA = "results.schema.json"
REPORT = "report.html"

# In the study's folder and in a run's folder.
LAYERS = "layers"

# In a run's folder.
JOB = "run.json"
MODEL = "model.yaml"
LOG = "train.log"
TRAINING_STATE = "state.pt"
TRAIN = "train"
TRAIN_TABLE = f"{TRAIN}/results.csv"
TRAIN_ARGUMENTS = f"{TRAIN}/args.yaml"
LAST_WEIGHTS = f"{TRAIN}/weights/last.pt"
BEST_WEIGHTS = f"{TRAIN}/weights/best.pt"
MATCHES = "matches.npz"
BOOTSTRAP = "draws.npz"
MAPS = "maps.npz"
RESULT = "result.json"

OUTPUTS = (MATCHES, BOOTSTRAP, MAPS, LOG, TRAIN_TABLE, TRAIN_ARGUMENTS, LAST_WEIGHTS, BEST_WEIGHTS, RESULT)
"""The files of a finished run that a study needs; the result comes last."""
