"""What the leaderboard measures: every layer with one input at the neck, and some also elsewhere."""

from __future__ import annotations

import hashlib
import inspect
import io
import token
import tokenize
from pathlib import Path

from yolo_attn.host.documents import model_yaml
from yolo_attn.registry import get_layer
from yolo_attn.selection.candidates import ALL, Candidate, default_sites, list_candidates

__all__ = ["WIDELY_USED", "code_of", "list_placements"]

WIDELY_USED = ("SE", "CBAM", "ECA", "CA", "EMA", "SimAM", "GAM", "ShuffleAttention", "NAM", "MHSA")
"""The layers that are also measured in the backbone and inside the main block."""
_NECK, _BACKBONE, _INSIDE = "neck", "backbone.P5", "inside:"
_IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def list_placements(base: str) -> list[Candidate]:
    """Return the placements in the order in which they are measured, those at the neck first.

    Args:
        base: A model YAML's name or a checkpoint.

    Raises:
        UserError: The base has no neck.
    """
    block = [site for site in default_sites(model_yaml(base)) if site.startswith(_INSIDE)]
    return [
        *list_candidates(base, ALL, _NECK),
        *list_candidates(base, WIDELY_USED, [_BACKBONE, *block]),
    ]


def code_of(layer: str) -> str:
    """Return a hash of the file of a layer, without comments, docstrings and layout.

    A shared part of several layers is not in it.

    Args:
        layer: Name of the layer.
    """
    source = Path(inspect.getfile(get_layer(layer).cls)).read_text(encoding="utf-8")
    words, begins = [], True  # whether a statement begins, where a text is a docstring
    for item in tokenize.generate_tokens(io.StringIO(source).readline):
        if item.type not in _IGNORED and not (begins and item.type == token.STRING):
            words.append(item.string)
        if item.type not in (tokenize.COMMENT, tokenize.NL):
            begins = item.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
