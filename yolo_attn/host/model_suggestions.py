"""Suggestions for names of missing model files: `yolo11n-coordatt.yaml` means the ready config yolo11n-ca.yaml.

Forks and tutorials name files by their content, such as `yolov8n-seg-cbam.yaml` or `yolov8-C2f-EMA.yaml`. Such a name
is parsed into family, scale, task and layer. The suggestion keeps all of them and is a ready config, a stock model, or
a stock model with the layer at a site.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.host.blocks import hosting_blocks
from yolo_attn.host.installation import stock_model_yamls
from yolo_attn.names.suggestions import fold, is_other_mechanism, suggest_layer, suggest_word
from yolo_attn.registry import layer_names
from yolo_attn.system.paths import config_folder

__all__ = ["suggest_checkpoint", "suggest_model"]

_NAME = re.compile(
    r"(?P<yolo>yolo)[-_ ]?(?P<e>e(?=[-_ v\d]))?[-_ ]?v?(?P<number>\d+)(?:(?P<letter>[a-z])(?![a-z\d]))?(?P<rest>.*)",
    re.I,
)
_SITES = ("neck", "backbone")
_SEPARATOR = re.compile(r"[-_ .+]+")


def suggest_model(name: str) -> str:
    """Return a loadable model that the name of a missing model YAML means; "" if none is certain.

    Args:
        name: The file's name, with or without a folder.
    """
    path = Path(name)
    files = {file.stem: file.name for file in sorted(path.parent.glob("*.y*ml"))}
    if near := suggest_word(path.stem, files):
        return str(path.with_name(files[near]))
    return next((model for model in _readings(path.stem) if _loads(model)), "")


def suggest_checkpoint(name: str) -> str:
    """Return the stock checkpoint that the name of a missing one means, such as yolo11n.pt for yolov11n.pt, or ""."""
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    stem = next((Path(model).stem for model in _readings(Path(name).stem) if "+" not in model), "")
    return f"{stem}.pt" if f"{stem}.pt" in GITHUB_ASSETS_NAMES else ""


def _readings(stem: str) -> Iterator[str]:
    """Yield the possible meanings of a file's name, most likely first, without checking that they exist."""
    match = _NAME.fullmatch(stem)
    if match is None:
        meant = suggest_word(stem, _stock_models())
        yield from [f"{meant}.yaml"] if meant else []
        return
    letter = (match["letter"] or "").casefold()
    families = [f"yoloe-{v}{match['number']}" if match["e"] else f"yolo{v}{match['number']}" for v in ("", "v")]
    words = [word for word in _SEPARATOR.split(match["rest"]) if word]
    for family in families:
        yield from _of_family(family, letter, words)


def _of_family(family: str, letter: str, words: Sequence[str]) -> Iterator[str]:
    """Yield models of a family for the words after its name."""
    stock = [name for name in _stock_models() if re.fullmatch(rf"{family}[a-z]?(-.*)?", name)]
    known = {word for name in stock for word in name.removeprefix(family).split("-")[1:]}
    kinds = [kind for word in words if (kind := _kind(word, known))]
    others = [word for word in words if not _kind(word, known)]
    for name in stock:
        if sorted(name.removeprefix(family).split("-")[1:]) == sorted(kinds) and name.startswith(
            (family + letter, family)
        ):
            base = name if name.startswith(f"{family}{letter}") else name.replace(family, family + letter, 1)
            yield from _with_layer(base, others) if others else [f"{base}.yaml"]


def _kind(word: str, known: set[str]) -> str:
    """Return the part of stock models' names that a word means, such as "seg"; "" for any other word."""
    if word.casefold() in known:
        return word.casefold()
    return "" if suggest_layer(word, layer_names()) or is_other_mechanism(word) else suggest_word(word, known)


def _with_layer(base: str, words: list[str]) -> Iterator[str]:
    """Yield a base with the layer that words name, at the site that they name or else the neck."""
    sites = [site for word in words if (site := suggest_word(word, _SITES))]
    blocks = {fold(block): block for block in hosting_blocks()}
    inside = [blocks[fold(word)] for word in words if fold(word) in blocks]
    named = [word for word in words if not suggest_word(word, _SITES) and fold(word) not in blocks]
    layer = suggest_layer("_".join(named), layer_names())
    if not layer or len(sites) + len(inside) > 1:
        return
    site = f"inside:{inside[0]}" if inside else next(iter(sites), "neck")
    place = {"neck": "", "backbone": "-backbone"}.get(site, f"-{inside[0].casefold()}" if inside else "")
    yield f"{base}-{layer.casefold()}{place}.yaml"
    yield f"{base}.yaml+{layer}@{site}"
    if not sites and not inside:  # a classifier has no neck
        yield f"{base}.yaml+{layer}@backbone"


def _loads(model: str) -> bool:
    """Return whether a model can be loaded: the file exists with this scale, and the sites exist in it."""
    from yolo_attn.host.documents import model_yaml
    from yolo_attn.host.model_files import find_model_yaml, without_letter

    if "+" not in model and not _exists(model) and not _exists(without_letter(model)):
        return False
    try:
        document = model_yaml(model)
    except UserError:
        return False
    letter = re.search(r"\d([a-z])(?![a-z\d])", model)
    scales = document.get("scales") or {}
    base = model.partition("+")[0]
    return not letter or letter[1] in scales or find_model_yaml(base).name == base


def _exists(name: str) -> bool:
    return Path(name).stem in _stock_models() or (config_folder() / name).is_file()


@functools.cache
def _stock_models() -> tuple[str, ...]:
    """Return the names of Ultralytics' model YAMLs."""
    return tuple(sorted(path.stem for path in stock_model_yamls()))
