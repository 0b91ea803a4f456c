"""Tables in pages of the documentation."""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def write_table(page: Path, name: str, table: str) -> None:
    """Replace a table of a page, between its two markers."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- table: {name} -->", "<!-- end -->"
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    if not re.search(pattern, text, re.DOTALL):
        sys.exit(f"{page.name} has no line {begin}")
    page.write_text(re.sub(pattern, lambda _: f"{begin}\n\n{table}\n\n{end}", text, flags=re.DOTALL), encoding="utf-8")
