"""Studies: comparisons of a base with its variants, trained from common initial weights and with common seeds.

`specification` defines what is compared, `planning` its runs, `engine` and `running` execute them, `store` contains
their files, `results` computes the statistics, and `report` presents them. An interrupted study resumes.
"""

from __future__ import annotations

from yolo_attn.study.comparison import Results
from yolo_attn.study.engine import compare
from yolo_attn.study.forecast import Forecast
from yolo_attn.study.specification.study import Study

__all__ = ["Forecast", "Results", "Study", "compare"]
