"""File names in a search's folder.

    search.yaml       what is searched; the same command continues it
    split/            the images that the search trains on and evaluates, carved from the training images
    costs.json        costs of the candidates, measured once
    rung1/, ...       one study for each rung, on the carved split (`study/files.py`)
    confirm/          the confirming study, on the dataset itself
    search.json       the results, updated while the search runs
    search.csv        the candidates as a table
    report.html       the report

Every file is written atomically. One process at a time works in the folder.
"""

from __future__ import annotations

from yolo_attn.study.files import SEARCH

__all__ = ["CONFIRM", "COSTS", "REPORT", "RESULTS", "RESULTS_CSV", "SPECIFICATION", "SPLIT", "rung_folder"]

SPECIFICATION = SEARCH
SPLIT = "split"
COSTS = "costs.json"
CONFIRM = "confirm"
RESULTS = "search.json"
RESULTS_CSV = "search.csv"
REPORT = "report.html"


def rung_folder(number: int) -> str:
    """Return the folder of a rung.

    Args:
        number: From 1.
    """
    return f"rung{number}"
