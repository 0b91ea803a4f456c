"""`yolo-attn place`: a model YAML with a layer placed at sites."""

from __future__ import annotations

from yolo_attn import api
from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_flag, parse_keys, require_keys
from yolo_attn.errors import UserError, did_you_mean

__all__ = ["COMMAND"]

_REQUIRED = ("model", "layer", "at")
_OPTIONAL = ("out", "exist_ok")


def _help() -> str:
    from yolo_attn.graph.sites import SITE_KINDS

    sites = "\n".join(f"             {kind.form} ({kind.summary})" for kind in reversed(SITE_KINDS))
    return f"""\
yolo-attn place model=MODEL layer=LAYER at=SITES [out=FILE] [exist_ok=True] [option=value ...]

Writes a complete model YAML with the layer placed at every site and prints the changes. Row indices are shifted, the
consumers of a site read the new row, and all pretrained weights of the base transfer, except those of a replaced row.

  model      a model YAML (yolo11n.yaml) or checkpoint (yolo11n.pt), also with layers (yolo11n.yaml+SE@neck)
  at         one or more sites, with commas:
{sites}
  out        the file to write (default: named after model, layer and sites, such as yolo11-cbam-neck.yaml; foo means
             foo.yaml); an existing one is kept without exist_ok=True
  the rest   the layer's options: init=identity reduction=8 ...

  yolo-attn place model=yolo11n.yaml layer=CBAM at=neck.P4,neck.P5 init=identity
"""


def _run(words: list[str]) -> int:
    from yolo_attn.graph.placed_layers import parse_value
    from yolo_attn.host.documents import layer_to_place, model_yaml
    from yolo_attn.host.placement import model_file

    keys = parse_keys(words)
    require_keys("place", keys, _REQUIRED, "place model=yolo11n.yaml layer=CBAM at=neck")
    model, layer, at = (keys.pop(key) for key in _REQUIRED)
    own = {key: keys.pop(key) for key in _OPTIONAL if key in keys}
    replace, out = parse_flag(own, "exist_ok"), model_file(own["out"]) if own.get("out") else None
    spec = layer_to_place(layer, model_yaml(model), "layer={layer} at={site}")
    for key in keys:
        if key not in spec.options:
            known = f"; its options: {', '.join(spec.options) or 'none'}"
            hint = spec.renamed_hint(key) or did_you_mean(key, (*_REQUIRED, *_OPTIONAL, *spec.options)) or known
            raise UserError(f"{key} is neither a key of place nor an option of {layer}{hint}")
    placed = api.place(model, layer, at, **{key: parse_value(value) for key, value in keys.items()})
    written = placed.save(out or placed.file_name, exist_ok=replace)
    print(placed)
    print(f"written: {written}")
    return 0


COMMAND = Command(
    name="place",
    run=_run,
    summary="place a layer in a model YAML: row indices are shifted, consumers follow",
    help=_help,
    takes_options=True,
)
