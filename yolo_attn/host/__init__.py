"""Interface to Ultralytics; no other subpackage imports it.

`register()` replaces the functions of Ultralytics in `BINDINGS`, and `unregister()` restores them.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from yolo_attn import registry
from yolo_attn.errors import one_line
from yolo_attn.host import safe_load
from yolo_attn.host.binding import SUPPORTED, Binding, UnsupportedHostError
from yolo_attn.host.checkpoint import CHECKPOINTS
from yolo_attn.host.child_training import CHILD_TRAINING
from yolo_attn.host.data_bindings import DATASETS
from yolo_attn.host.ddp import DDP_FILE
from yolo_attn.host.freezing import FREEZING
from yolo_attn.host.fusing import FUSING
from yolo_attn.host.learning_rate import LEARNING_RATE
from yolo_attn.host.model_bindings import MODEL_NAMES
from yolo_attn.host.model_files import MODEL_FILES, SCALES
from yolo_attn.host.parser import PARSER
from yolo_attn.host.provenance import PROVENANCE
from yolo_attn.host.resuming import RESUMING
from yolo_attn.host.transfer import TRANSFER

__all__ = ["BINDINGS", "SUPPORTED", "UnsupportedHostError", "register", "unregister"]

BINDINGS: tuple[Binding, ...] = (
    PARSER,
    TRANSFER,
    CHECKPOINTS,
    DDP_FILE,
    MODEL_FILES,
    SCALES,
    FREEZING,
    FUSING,
    *LEARNING_RATE,
    *MODEL_NAMES,
    *DATASETS,
    *CHILD_TRAINING,
    PROVENANCE,
    RESUMING,
)
"""All functions of Ultralytics that `register` replaces."""


def _is_host_name(name: str) -> bool:
    return hasattr(tasks, name)


def register() -> None:
    """Register the layers in Ultralytics; a second call has no effect.

    Raises:
        UnsupportedHostError: The installed Ultralytics is not supported.
        ValueError: A layer has the name of an Ultralytics module.
    """
    if all(binding.installed for binding in BINDINGS):
        return
    for entry in entry_points(group="yolo_attn.layers"):
        try:
            entry.load()
        except Exception as error:  # another package's, without which everything else works
            LOGGER.warning(f"yolo-attn: {entry.value}, an installed package of layers, fails: {one_line(error)}")
    _leave_out_taken()
    registry.reserve_names(_is_host_name)
    safe_load.allow()
    try:
        for binding in BINDINGS:
            binding.install()
    except UnsupportedHostError:
        unregister()
        raise


def _leave_out_taken() -> None:
    """Leave out the package's layers whose names this copy of Ultralytics, such as a fork, has for its own modules."""
    taken = [spec.name for spec in registry.list_layers() if any(map(_is_host_name, (spec.name, *spec.aliases)))]
    built_in = [name for name in taken if registry.get_layer(name).built_in]
    for name in built_in:
        registry.unregister_layer(name)
    if built_in:
        LOGGER.warning(
            f"yolo-attn: {tasks.__file__} has modules named {', '.join(built_in)}, which are used instead of the "
            "layers; stock Ultralytics has none of them"
        )


def unregister() -> None:
    """Restore Ultralytics; models that are already built keep working."""
    for binding in reversed(BINDINGS):
        binding.remove()
    safe_load.withdraw()
    registry.release_names(_is_host_name)
