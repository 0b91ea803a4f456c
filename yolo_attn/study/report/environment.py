"""The templates that the pages of studies and searches share: formats, names, colors, style and script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Protocol, TypeVar

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from yolo_attn.errors import counted
from yolo_attn.study.report import formats
from yolo_attn.study.report.figures.palette import THEME, arm_style

__all__ = ["breakable", "make_environment", "shared_parts"]

_SHARED = "yolo_attn.study.report"
_SHORT_NAME, _LONG_NAME, _LONG_PIECE = 24, 40, 14  # letters
_SYMBOLS = {"better": "▲", "worse": "▼", "equivalent": "≈", "no worse": "≥"}  # of decided verdicts
_RANKS = {"better": "5", "no worse": "4", "equivalent": "3", "inconclusive": "2", "worse": "1", None: ""}
_T = TypeVar("_T")


def make_environment(package: str) -> Environment:
    """Return an environment with the templates of a package, and the shared ones under their own names.

    Args:
        package: The package with the folder `templates`.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, _SHARED))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "points": _typeset(formats.points),
        "half_width": _typeset(formats.half_width),
        "size": formats.size,
        "percent": formats.percent,
        "points_range": formats.points_range,
        "signed": _typeset(formats.signed),
        "signed_interval": _typeset(formats.signed_interval),
        "signed_range": _typeset(_signed_range),
        "p_value": _typeset(formats.p_value),
        "probability": _typeset(formats.probability),
        "count": _typeset(formats.count),
        "counted": counted,
        "gflops": _typeset(formats.gflops),
        "millions": _typeset(formats.millions),
        "milliseconds": _typeset(formats.milliseconds),
        "duration": _typeset(formats.duration),
        "mebibytes": _typeset(formats.mebibytes),
        "typeset": formats.typeset,
        "date": formats.date,
        "name": breakable,
    }
    environment.globals |= {"arm_style": arm_style, "ranks": _RANKS, "symbols": _SYMBOLS}
    return environment


def shared_parts(environment: Environment) -> dict[str, object]:
    """Return what `page.html` needs on every page: colors, and the script with its hash for the content policy."""
    script = environment.get_template("report.js").render()
    return {
        "theme": THEME,
        "script": Markup(script),  # noqa: S704 (a file of this package)
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


class _Interval(Protocol):
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def _signed_range(found: _Interval) -> str:
    return "[{}, {}]".format(*formats.signed_ends(found.low, found.high))


def _typeset(function: Callable[[_T], str]) -> Callable[[_T], str]:
    """Return a number format with typographic signs."""

    def shown(value: _T) -> str:
        text = function(value)
        return "–" if text == formats.NONE else formats.typeset(text)  # noqa: RUF001

    return shown


def breakable(name: str) -> Markup:
    """Return a name that can break after its punctuation, not inside its words: CBAM@|neck.|P4."""
    pieces = re.split(r"(?<=[@./\\_+,:;=)\]-])(?=[^@./\\_+,:;=)\]-])", name)
    kinds = ["name", "short" if len(name) <= _SHORT_NAME else "long" if len(name) > _LONG_NAME else ""]
    kinds += ["solid"] if max(map(len, pieces)) > _LONG_PIECE else []
    shown = Markup("<wbr>").join(map(escape, pieces))
    return Markup('<span class="{}">{}</span>').format(" ".join(filter(None, kinds)), shown)
