"""The README and the pages of the documentation in both languages, and checks of what they contain."""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
from pathlib import Path

import pytest

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.host.arguments import VERBS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))
TRANSLATED = {
    ROOT / "README.md": ROOT / "README.zh-CN.md",
    **{path.with_name(f"{path.name.split('.')[0]}.md"): path for path in PAGES if path.name.endswith(".zh.md")},
}
"""Each page that has a translation, with the translation."""
PROGRAMS = ("yolo-attn ", "yolo ")
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SMALL = {"imgsz": "64", "rounds": "1"}  # of a profile


def blocks(text: str, language: str | None = None) -> list[str]:
    """Return the code blocks of a page, of one language ("" is none) or all."""
    found = [(match[2], textwrap.dedent(match[3])) for match in _BLOCK.finditer(text)]
    return [code for name, code in found if language is None or name == language]


def commands(*texts: str) -> list[str]:
    """Return the different commands of yolo-attn, and stock commands, in pages."""
    lines = (line for text in texts for block in blocks(text, "bash") for line in block.splitlines())
    return list(dict.fromkeys(line.partition("  #")[0] for line in lines if line.startswith(PROGRAMS)))


def python_blocks(text: str) -> list[str]:
    """Return the Python code of a page."""
    return blocks(text, "python")


def custom_layer() -> str:
    """Return the README's custom layer."""
    return next(block for block in python_blocks(README) if "register_layer" in block)


def check_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command in the working folder; of one that trains, check its arguments and build its models."""
    program, verb, *words = shlex.split(command)
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    if verb in VERBS:
        _check_stock(program, verb, words)
    elif verb == "compare":
        _check_study(keys)
    elif verb == "search":
        _check_search(keys)
    elif verb in ("enable-yolo", "disable-yolo"):
        with pytest.MonkeyPatch.context() as patch:  # site-packages are unchanged
            patch.setattr("yolo_attn.host.startup_file.own_folder", lambda user: Path.cwd())
            assert main([verb, *words]) == 0
    elif verb in ("maps", "report"):  # another command trains the model or makes the study
        assert main([verb, *words]) == 2
        assert re.search("no such checkpoint|no such folder|does not exist", capsys.readouterr().err)
    elif "layers" in keys:
        Path(keys["layers"]).write_text(custom_layer())
        try:
            assert main([verb, *words]) == 0
        finally:
            yolo_attn.registry.unregister_layer("MeanGate")
            del sys.modules[Path(keys["layers"]).stem]
    else:
        if verb == "lint":
            main(["place", "model=yolo11n.yaml", "layer=SE", "at=neck", f"out={keys['model']}"])
        if verb == "profile":
            words = _with(words, _SMALL)
        assert main([verb, *words]) == 0


def _check_stock(program: str, verb: str, words: list[str]) -> None:
    from ultralytics import cfg

    from yolo_attn.host.arguments import read_words
    from yolo_attn.host.documents import model_yaml

    keys = dict(word.split("=", 1) for word in words)
    if program == "yolo":  # which knows fewer keys
        assert cfg.get_cfg(cfg.DEFAULT_CFG_DICT, dict(cfg.parse_key_value_pair(word) for word in words)).model
    else:
        assert read_words([verb, *(word for word in words if not word.startswith("trust="))])  # of every command
    if "+" in keys["model"] or keys["model"].endswith(".yaml"):
        model_yaml(keys["model"])


def _check_study(keys: dict[str, str]) -> None:
    from yolo_attn.host.documents import make_variant
    from yolo_attn.study.specification.study import Study

    study = Study.from_arguments(keys)
    assert study.variants
    base = study.base.replace(".pt", ".yaml")  # tests download nothing
    for variant in study.variants:
        make_variant(base, variant)


def _check_search(keys: dict[str, str]) -> None:
    from yolo_attn.selection.candidates import list_candidates
    from yolo_attn.selection.specification import Search

    search = Search.from_arguments(keys)
    base = search.study.base.replace(".pt", ".yaml")  # tests download nothing
    assert list_candidates(base, search.layers, search.at or None)


def _with(words: list[str], changes: dict[str, str]) -> list[str]:
    """Return words with some values set."""
    kept = [word for word in words if word.partition("=")[0] not in changes]
    return [*kept, *(f"{key}={value}" for key, value in changes.items())]
