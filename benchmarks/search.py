"""Simulations of searches: strategies, false confirmations, shapes of rungs.

python benchmarks/search.py [TABLE ...]         prints tables; all by default
python benchmarks/search.py --docs [TABLE ...]  writes them into docs/search.md
python benchmarks/search.py --quick             few searches, a minute

The full form takes about ten minutes on an idle core, most of them for `engines`. Rows of Optuna are missing if it is
not installed (pip install optuna), and then their tables are not written. Random numbers have seeds: the same versions
give the same tables.
"""

from __future__ import annotations

from simulation.pages import DOCS, run
from simulation.search_tables import TABLES

if __name__ == "__main__":
    run(TABLES, DOCS / "search.md", needs={"strategies": "optuna", "engines": "optuna"})
