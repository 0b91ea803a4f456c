"""Simulated tables on the command line and in pages of the documentation."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from .tables import Table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run(tables: Mapping[str, Callable[[bool], Table]], page: Path, *, needs: Mapping[str, str] | None = None) -> None:
    """Compute and print the tables that the command line names, and write them with `--docs`.

    Args:
        tables: The tables by name.
        page: The page that has them.
        needs: Packages without which a table lacks rows, by its name; it is not written then.
    """
    names = [word for word in sys.argv[1:] if not word.startswith("--")] or list(tables)
    if unknown := [name for name in names if name not in tables]:
        sys.exit(f"{Path(sys.argv[0]).stem}: unknown table {unknown[0]}; tables: {', '.join(tables)}")
    for name in names:
        began = time.perf_counter()
        table = tables[name]("--quick" in sys.argv).markdown()
        print(f"{name} ({time.perf_counter() - began:.0f} s)\n\n{table}\n", flush=True)
        if "--docs" not in sys.argv:
            continue
        package = (needs or {}).get(name)
        if package and find_spec(package) is None:
            print(f"{name} is not written, because rows are missing: pip install {package}", flush=True)
        else:
            write_table(page, name, table)


def write_table(page: Path, name: str, table: str) -> None:
    """Replace a table of a page, between its two markers."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- table: {name} -->", "<!-- end -->"
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    if not re.search(pattern, text, re.DOTALL):
        sys.exit(f"{page.name} has no line {begin}")
    page.write_text(re.sub(pattern, lambda _: f"{begin}\n\n{table}\n\n{end}", text, flags=re.DOTALL), encoding="utf-8")
