"""The maps at which layers are measured: those of YOLO's neck for an image of 640 x 640 pixels."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LEVELS", "Level"]


@dataclass(frozen=True)
class Level:
    """A level of the feature pyramid.

    Attributes:
        name: Its name in YOLO.
        channels: Width of the map.
        side: Height and width of the map.
    """

    name: str
    channels: int
    side: int


LEVELS = {level.name: level for level in (Level("P3", 128, 80), Level("P4", 256, 40), Level("P5", 512, 20))}
