"""Simulations of searches: strategies, false confirmations, shapes of rungs.

python benchmarks/search.py [TABLE ...]         prints tables; all by default
python benchmarks/search.py --docs [TABLE ...]  writes them into docs/search.md
python benchmarks/search.py --quick             few searches, a minute

The full form takes about ten minutes on an idle core, and `engines` half an hour. Rows of Optuna are missing if it is
not installed (pip install optuna). Random numbers have seeds: the same versions give the same tables.
"""

from __future__ import annotations

import sys
import time

from simulation.pages import DOCS, write_table
from simulation.search_tables import TABLES


def main() -> None:
    """Compute, print and write the tables."""
    names = [word for word in sys.argv[1:] if not word.startswith("--")] or list(TABLES)
    if unknown := [name for name in names if name not in TABLES]:
        sys.exit(f"search: unknown table {unknown[0]}; tables: {', '.join(TABLES)}")
    for name in names:
        began = time.perf_counter()
        table = TABLES[name]("--quick" in sys.argv).markdown()
        print(f"{name} ({time.perf_counter() - began:.0f} s)\n\n{table}\n", flush=True)
        if "--docs" in sys.argv and name != "engines":  # which the page only mentions
            write_table(DOCS / "search.md", name, table)


if __name__ == "__main__":
    main()
