"""Simulations of the statistics: false alarms, coverage, power, looks.

python benchmarks/calibration.py [TABLE ...]         prints tables; all by default
python benchmarks/calibration.py --docs [TABLE ...]  writes them into docs/statistics.md
python benchmarks/calibration.py --quick             few studies, a minute

The full form takes about ten minutes on an idle core. Random numbers have seeds: the same versions give the same
tables.
"""

from __future__ import annotations

from simulation.pages import DOCS, run
from simulation.tables import TABLES

if __name__ == "__main__":
    run(TABLES, DOCS / "statistics.md")
