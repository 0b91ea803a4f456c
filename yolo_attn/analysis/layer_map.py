"""What maps of attention layers have in common: where the layer is, and where the image is."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_attn.analysis.letterbox import Frame, Image, level_name

__all__ = ["LayerMap", "View"]


@dataclass(frozen=True)
class View:
    """An image as a model sees it.

    Args:
        image: The image.
        frame: Its position in the letterboxed image.
        model: Name of the model, where there are several.
    """

    image: Image
    frame: Frame
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """A map of an attention layer for one image.

    Args:
        row: Index of the row in the model YAML.
        name: The row's module and the path to the layer in it, such as "CBAM.spatial".
        layer: The layer, such as "CBAMSpatial".
        part: Name of the part of a layer with several maps, such as "input 1" or "rows"; mostly "".
        stride: Stride of the map.
        frame: Position of the image in the letterboxed image.
        model: Name of the model, where there are several.
    """

    row: int
    name: str
    layer: str
    part: str
    stride: float
    frame: Frame
    model: str = ""

    @property
    def key(self) -> tuple[int, str, str]:
        """Row, layer and part, unique in a model."""
        return self.row, self.name, self.part

    @property
    def level(self) -> str:
        """The stride as a level: "P3" for 8, or "stride 6" if it is not a power of two."""
        return level_name(self.stride)

    @property
    def title(self) -> str:
        """Row, layer, part and level, as the title of a panel."""
        part = f" {self.part}" if self.part else ""
        return f"row {self.row} {self.name}{part} ({self.level})"
