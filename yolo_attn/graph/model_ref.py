"""Model references: the text that names a model, parsed into a base and the layers placed in it.

    yolo11n.yaml, best.pt                  a model YAML or a checkpoint
    BASE+Layer@sites                       yolo11n.yaml+CBAM@neck, best.pt+SE@neck.P4,neck.P5
    BASE+Layer[option=value,...]@sites     yolo11n.yaml+SE[reduction=8,init=identity]@neck
    BASE+Layer@sites+Layer@sites           yolo11n.yaml+SE@neck+CBAM@backbone.P5
    BASE+Layer+Layer@sites                 yolo11n.yaml+SE+CBAM@neck: one after the other

A base with placed layers also has a name that ends in .yaml, `yolo11n+CBAM@neck.yaml`. Ultralytics accepts it wherever
it takes a model YAML, and another process can build the same model from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from yolo_attn.graph.placed_layers import PlacedLayer, are_placed_layers, parse_placed_layers, split_outside_brackets
from yolo_attn.system.files import YAML_SUFFIXES, is_file, shortened

__all__ = ["ModelKind", "ModelRef"]

_CHECKPOINT_SUFFIX = ".pt"
_END_OF_BASE = re.compile(r"\.(yaml|yml|pt)\+")
_FOLDER = re.compile(r".*[/\\]")


class ModelKind(Enum):
    """The kind of file that a base is."""

    YAML = "yaml"
    CHECKPOINT = "checkpoint"
    OTHER = "other"


@dataclass(frozen=True)
class ModelRef:
    """A model as a user names it.

    Args:
        text: The name as given.
        base: The model YAML or checkpoint; `text` itself for any other name.
        placed: The layers placed in the base, as text: "CBAM@neck"; None without any.
    """

    text: str = field(compare=False)
    base: str
    placed: str | None = None

    @classmethod
    def parse(cls, model: str | Path | ModelRef) -> ModelRef:
        """Parse a model's name.

        An existing file is never split, whatever its name. The layers are parsed on access of `layers`.

        Args:
            model: The name, or a reference, which is returned unchanged.
        """
        if isinstance(model, ModelRef):
            return model
        text = str(model).strip()
        base, placed = _split(text)
        return cls(text, base, placed)

    @property
    def kind(self) -> ModelKind:
        """The kind of the base."""
        suffix = Path(self.base).suffix
        if suffix in YAML_SUFFIXES:
            return ModelKind.YAML
        return ModelKind.CHECKPOINT if suffix == _CHECKPOINT_SUFFIX else ModelKind.OTHER

    @property
    def is_placed(self) -> bool:
        """Whether layers are placed in the base."""
        return self.placed is not None

    @property
    def is_checkpoint(self) -> bool:
        """Whether the model is a checkpoint as it is, without layers placed in it."""
        return self.kind is ModelKind.CHECKPOINT and not self.is_placed

    @property
    def is_yaml(self) -> bool:
        """Whether the model is built from a model YAML: the base is one, or layers are placed in a checkpoint's."""
        return self.kind is ModelKind.YAML or self.is_placed

    @property
    def layers(self) -> list[PlacedLayer]:
        """The layers placed in the base, in order.

        Raises:
            UserError: A part that is not Layer@site.
        """
        return [] if self.placed is None else parse_placed_layers(self.placed)

    @property
    def name(self) -> str:
        """The name that Ultralytics takes: `yolo11n+CBAM@neck.yaml` for a placed model, the base for any other.

        The base keeps its suffix where the name would otherwise mean another model.
        """
        if not self.is_placed:
            return self.base
        short = f"{self.base.removesuffix('.yaml')}+{self.placed}.yaml"
        return short if _split(short) == (self.base, self.placed) else f"{self.base}+{self.placed}.yaml"

    @property
    def stem(self) -> str:
        """A short name without folder and suffix: "yolo11n", or "yolo11n-se" for yolo11n.yaml+SE@neck.

        Raises:
            UserError: A part that is not Layer@site.
        """
        layers = [placed.layer.lower() for placed in self.layers]
        stem = Path(self.base).stem
        return shortened("-".join([stem, *layers])) if layers else stem

    def __str__(self) -> str:
        return self.text


def _split(text: str) -> tuple[str, str | None]:
    """Split a name into its base and the text of its placed layers, which is None without any."""
    if "+" not in text or "://" in text or is_file(text):
        return text, None
    folder = match[0] if (match := _FOLDER.match(text)) else ""  # a folder's name may contain any character
    name = text[len(folder) :]
    if end := _END_OF_BASE.search(name):
        return folder + name[: end.end() - 1], name[end.end() :].removesuffix(".yaml")
    stem, *parts = split_outside_brackets(name.removesuffix(".yaml"), "+")
    if name.endswith(".yaml") and stem and "@" not in stem and are_placed_layers(parts):
        return f"{folder}{stem}.yaml", "+".join(parts)
    return text, None
