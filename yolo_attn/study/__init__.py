"""A study: a base and its variants, trained with common starts and seeds, compared.

One command plans, runs and reports; stopped anywhere it goes on where it was.
"""

from __future__ import annotations

from yolo_attn.study.engine import compare
from yolo_attn.study.results.results import Results
from yolo_attn.study.specification.study import Study

__all__ = ["Results", "Study", "compare"]
