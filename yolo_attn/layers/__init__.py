"""The attention layers: pure PyTorch, one mechanism a file, one folder a family.

Importing this package imports every module in the folders of the families, which registers the layers, and exports the
registered classes. `__init__.pyi` names them for type checkers and editors; `tests/cards.py` writes it.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from yolo_attn.registry import FAMILIES, list_layers

for _family in FAMILIES:
    for _module in iter_modules(import_module(f"{__name__}.{_family}").__path__):  # sorted by name
        import_module(f"{__name__}.{_family}.{_module.name}")

_classes = {spec.cls.__name__: spec.cls for spec in list_layers() if spec.built_in}
globals().update(_classes)

__all__ = list(_classes)
