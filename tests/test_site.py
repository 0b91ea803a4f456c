"""The documentation site: a page for each layer, both languages, no warnings, and nothing from other servers."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from yolo_attn.registry import LayerSpec, list_layers

from .pages import PAGES, ROOT, TRANSLATED

SPECS = [spec for spec in list_layers() if spec.built_in]


@pytest.fixture
def layer_pages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module docs/site/layer_pages.py."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    return importlib.import_module("layer_pages")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_page_of_a_layer_is_complete(spec: LayerSpec, layer_pages: Any) -> None:
    text = layer_pages.page(spec, "map.png", "../export.md")
    table = text.partition("## Options\n\n")[2].partition("\n\n## ")[0].splitlines()[2:]
    assert [line.split(" | ")[0].strip("| `") for line in table] == list(spec.options)
    assert [line for line in table if not line.rpartition(" | ")[2].strip("| ")] == []  # each has a meaning
    for part in (
        spec.url,
        "- **Paper:**",
        "- **Shapes:**",
        "```text\n",
        f", {spec.name}, []]",
        "(map.png)",
        "../export.md",
    ):
        assert part in text
    assert "map.png" not in layer_pages.page(spec, None, None)
    assert layer_pages.file_name(spec) not in {layer_pages.file_name(other) for other in SPECS if other is not spec}


def test_a_served_site_follows_the_pages_and_not_their_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    hook = importlib.import_module("hook")
    watched = {str(hook.STAGED)}
    server = SimpleNamespace(watch=watched.add, unwatch=watched.remove)
    assert hook.on_serve(server, config=SimpleNamespace(docs_dir=str(hook.STAGED)), builder=None) is server
    assert watched == {str(ROOT / "docs")}


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    """It is built once, because builds in two processes would write the same copy of docs/."""
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's advice on other programs
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    check_pages(tmp_path)
    check_search(tmp_path)
    check_servers(tmp_path)


def check_pages(site: Path) -> None:
    """Check that all pages are built in both languages."""
    for folder in (site, site / "zh"):
        for page in PAGES:
            if page not in TRANSLATED.values():
                name = page.stem if page.stem != "index" else "."
                assert (folder / name / "index.html").exists(), page
        for spec in SPECS:
            text = (folder / "layers" / spec.name.lower() / "index.html").read_text(encoding="utf-8")
            assert f'<h1 id="{spec.name.lower()}">{spec.name}' in text
    assert "五分钟上手" in (site / "zh" / "index.html").read_text(encoding="utf-8")
    overview = (site / "layers" / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{spec.name.lower()}/"' in overview for spec in SPECS)


def check_search(site: Path) -> None:
    """Check that the index has both languages, and single words of Chinese, so that they are found in a sentence."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert index["config"]["lang"] == ["en", "zh"]
    chinese = " ".join(entry["text"] for entry in index["docs"] if entry["location"].startswith("zh/"))
    assert {"注意力", "权重"} <= set(re.split(r"[\s\u200b]+", re.sub("<.*?>", " ", chinese)))
    assert {spec.name for spec in SPECS} <= {re.sub("<.*?>", "", entry["title"]) for entry in index["docs"]}


def check_servers(site: Path) -> None:
    """Check that no page loads something from another server."""
    loaded = re.compile(r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\" >]+)|<link[^>]* href=\"?(https?:[^\" >]+)")
    found = {path: loaded.findall(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert {path.name: addresses for path, addresses in found.items() if addresses} == {}
