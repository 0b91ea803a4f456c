"""Hook of MkDocs: the site is built from a copy of docs/ that has a page for each attention layer.

The pages of the layers are made from their cards, the figures on them by docs/site/maps.py, and the page of the
leaderboard whose tables sort from its record. They are not in docs/, because they follow from the code.
Pages of docs/ that the navigation in mkdocs.yml does not name are its last entries.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import layer_pages  # noqa: E402

from benchmarks.board.page import as_html  # noqa: E402
from yolo_attn.leaderboard import read_boards  # noqa: E402
from yolo_attn.registry import FAMILIES, LayerSpec, list_layers  # noqa: E402

STAGED, FIGURES = ROOT / "build" / "docs", ROOT / "build" / "maps"
LAYERS = "Layers"
LEADERBOARD, SORTABLE = "leaderboard-tables.html", "<!-- sortable -->"


def on_config(config: Any) -> Any:
    """Copy docs/, add the layers' pages, and list them in the navigation; once for all languages."""
    if Path(config.docs_dir) != STAGED:
        specs = [spec for spec in list_layers() if spec.built_in]
        stage(Path(config.docs_dir), specs)
        config.docs_dir = str(STAGED)
        config.nav = navigation(config.nav, specs)
    return config


def on_serve(server: Any, config: Any, builder: Any) -> Any:
    """Build the site again when a page of docs/ changes; the copy changes with every build."""
    server.unwatch(config.docs_dir)
    server.watch(str(ROOT / "docs"))
    return server


def stage(docs: Path, specs: list[LayerSpec]) -> None:
    """Write the sources of the site to `STAGED`.

    Args:
        docs: The folder of the documentation.
        specs: The layers.
    """
    shutil.rmtree(STAGED, ignore_errors=True)
    shutil.copytree(docs, STAGED, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    overview = STAGED / "layers.md"
    text = linked(overview.read_text(encoding="utf-8"), specs)
    overview.write_text(f"---\nhide: [toc]\n---\n\n{text}", encoding="utf-8")  # the tables are wide
    stage_leaderboard()
    folder = STAGED / "layers"
    folder.mkdir()
    for spec in specs:
        figure = FIGURES / f"{spec.name}.png"
        if figure.exists():
            shutil.copy(figure, folder / figure.name)
        exports = "../export.md" if (docs / "export.md").exists() else None
        text = layer_pages.page(spec, figure.name if figure.exists() else None, exports)
        (folder / layer_pages.file_name(spec)).write_text(text, encoding="utf-8")


def stage_leaderboard() -> None:
    """Write the leaderboard's page that sorts, and link it from the page with the tables."""
    (STAGED / LEADERBOARD).write_text(as_html(read_boards()), encoding="utf-8")
    tables = STAGED / "leaderboard.md"
    text = tables.read_text(encoding="utf-8").replace(SORTABLE, f"[Tables that sort]({LEADERBOARD})")
    tables.write_text(f"---\nhide: [toc]\n---\n\n{text}", encoding="utf-8")


def linked(overview: str, specs: list[LayerSpec]) -> str:
    """Return the table of the layers with links to their pages."""
    pages = {spec.name: f"layers/{layer_pages.file_name(spec)}" for spec in specs}
    return re.sub(r"^\| \*\*(\w+)\*\*", lambda m: f"| **[{m[1]}]({pages[m[1]]})**", overview, flags=re.M)


def navigation(nav: list[Any], specs: list[LayerSpec]) -> list[Any]:
    """Return the navigation with the pages of the layers by family, and with the pages that it does not name.

    Args:
        nav: The navigation in mkdocs.yml.
        specs: The layers.
    """
    families = [
        {family.replace("_", " ").capitalize(): [{s.name: f"layers/{layer_pages.file_name(s)}"} for s in members]}
        for family in FAMILIES
        if (members := [spec for spec in specs if spec.family == family])
    ]
    named = set(re.findall(r"[\w.]+\.md", str(nav)))
    english = sorted(path.name for path in STAGED.glob("*.md") if path.suffixes == [".md"])
    with_layers = [{LAYERS: item[LAYERS] + families} if LAYERS in item else item for item in nav]
    return with_layers + [name for name in english if name not in named]
