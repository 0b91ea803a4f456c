"""Colors of the report, light and dark. Figures are drawn in the light colors and follow the page's theme.

The arms' colors are those of Okabe and Ito (Color Universal Design, 2008), distinguishable with any color vision. The
dark theme has lighter ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from yolo_attn.study.results.records import ArmSummary

__all__ = ["THEME", "ArmStyle", "arm_style", "as_variables", "light"]

# name: (light, dark); light colors are unique, since they identify the variables of a figure's colors
THEME = {
    "paper": ("#ffffff", "#15181c"),
    "panel": ("#f5f7f9", "#1d2126"),
    "ink": ("#1c2127", "#e7eaee"),
    "muted": ("#57616c", "#a4aeb9"),
    "faint": ("#a9b2bc", "#606b77"),
    "rule": ("#dde2e7", "#333b44"),
    "band": ("#e4eef8", "#22303f"),
    "link": ("#0b5cad", "#7cb8f2"),
    "better": ("#00664b", "#4fd1a5"),
    "worse": ("#a63d00", "#ff9d66"),
    "equivalent": ("#1f5fa8", "#8ac0f5"),
    "no-worse": ("#3d6b1f", "#a9d48a"),
    "arm-0": ("#0072b2", "#56a9e8"),
    "arm-1": ("#d55e00", "#ff8b45"),
    "arm-2": ("#009e73", "#2fcfa0"),
    "arm-3": ("#b8578f", "#eaa2cd"),
    "arm-4": ("#c28500", "#f2bd4a"),
    "arm-5": ("#3f9bd0", "#9ad6fb"),
    "arm-6": ("#7a5c1e", "#cbb072"),
    "arm-7": ("#6b4fa0", "#b9a2ea"),
}
_ARMS = [name for name in THEME if name.startswith("arm-")]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
_BY_LIGHT = {light: name for name, (light, _) in THEME.items()}

LineStyle = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class ArmStyle:
    """Style of an arm in all figures.

    Args:
        name: Name of its color in the theme.
        marker: Matplotlib marker.
        line: Matplotlib line style.
    """

    name: str
    marker: str
    line: LineStyle

    @property
    def color(self) -> str:
        """The light color."""
        return light(self.name)


def light(name: str) -> str:
    """Return the light variant of a color of the theme."""
    return THEME[name][0]


def arm_style(arm: ArmSummary) -> ArmStyle:
    """Return an arm's style: the baseline dark, controls gray and dashed, variants in colors."""
    if arm.kind == "baseline":
        return ArmStyle("ink", "o", "-")
    if arm.kind == "control":
        return ArmStyle("muted", _MARKERS[arm.index % len(_MARKERS)], (0, (3, 2)))
    number = arm.index - 1
    line = _LINES[number // len(_ARMS) % len(_LINES)]
    return ArmStyle(_ARMS[number % len(_ARMS)], _MARKERS[number % len(_MARKERS)], line)


def as_variables(svg: str) -> str:
    """Return an SVG with its colors replaced by CSS variables of the page, with the light colors as fallback.

    Text between tags, such as the name of an arm, keeps what looks like a color.
    """
    return re.sub(r"#[0-9a-f]{6}\b(?=[^<>]*>)", _variable, svg)


def _variable(match: re.Match[str]) -> str:
    name = _BY_LIGHT.get(match.group())
    return match.group() if name is None else f"var(--{name}, {match.group()})"
