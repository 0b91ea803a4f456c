"""A finder that registers the attention layers in every program that imports Ultralytics.

`yolo-attn enable-yolo` copies the source of this module into a start-up file (`startup_file.py`), whose code runs each
time Python starts. It therefore imports nothing and is short. The code for a program that imports `ultralytics`
(`registering_loader.py`) is kept as text until then, because compiling it takes longer than the rest.
"""

import sys

TYPE_CHECKING = False  # `typing` takes milliseconds to import
if TYPE_CHECKING:
    from typing import Any

NAME = "yolo_attn_startup.pth"
"""The name of the start-up file."""


class RegisteringFinder:
    """Finds `ultralytics` as the other finders do, with a loader that then imports `yolo_attn`.

    Args:
        code: The source of `registering_loader.py`.
    """

    registers = "yolo_attn"

    def __init__(self, code: str) -> None:
        self.code = code

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Return the spec of `ultralytics`, None for any other module and if the layers are already registered."""
        if name != "ultralytics" or self.registers in sys.modules:
            return None
        scope: dict[str, Any] = {"__name__": "yolo_attn_startup"}
        exec(compile(self.code, NAME, "exec"), scope)  # noqa: S102
        return scope["find_spec"]([finder for finder in sys.meta_path if finder is not self], name, path, target)


def install(code: str) -> None:
    """Add the finder to this process, unless the start-up file of another environment has added one.

    Args:
        code: The source of `registering_loader.py`.
    """
    if not any(getattr(finder, "registers", "") == RegisteringFinder.registers for finder in sys.meta_path):
        sys.meta_path.insert(0, RegisteringFinder(code))
