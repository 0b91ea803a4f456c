"""Placement of a layer in a model YAML, written to a file, with a summary of the changes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from yolo_attn.errors import UserError, counted
from yolo_attn.graph import IMAGE, Insertion, ModelGraph, dump_model, list_sites, place
from yolo_attn.graph.model_ref import ModelRef
from yolo_attn.graph.sites import parse_sites
from yolo_attn.host.blocks import count_inside
from yolo_attn.host.documents import check_sites, layer_to_place, model_yaml
from yolo_attn.host.geometry import Cost, build_on_meta, model_cost, row_strides
from yolo_attn.host.model_files import scale_letter, without_letter
from yolo_attn.host.transfer import count_transferable
from yolo_attn.registry import LayerSpec
from yolo_attn.system.files import YAML_SUFFIXES, as_yaml, is_folder, shortened, write_new
from yolo_attn.system.paths import config_folder
from yolo_attn.tables import html_table
from yolo_attn.version import __version__

__all__ = ["Placement", "model_file", "place_layer"]


@dataclass(frozen=True, repr=False)
class Placement:
    """A base with a layer placed in it.

    Args:
        base: The base's name, as given.
        layer: The layer.
        at: The sites, as given.
        options: The layer's options.
        document: The resulting model YAML as a mapping.
        insertions: The insertions, in order of rows.
        sites: The site of each insertion: its name, or the row that it follows or is inside.
        base_document: The base's model YAML as a mapping.
    """

    base: str
    layer: LayerSpec
    at: str
    options: dict[str, Any]
    document: dict[str, Any]
    insertions: tuple[Insertion, ...]
    sites: tuple[str, ...]
    base_document: dict[str, Any]

    @cached_property
    def before(self) -> Cost:
        """The cost of the base at 640 pixels."""
        return model_cost(self.base_document)

    @cached_property
    def after(self) -> Cost:
        """The cost of the variant at 640 pixels."""
        return model_cost(self.document)

    @cached_property
    def modules(self) -> nn.Sequential:
        """The variant's rows on the meta device."""
        return build_on_meta(self.document)

    def transfer(self) -> tuple[int, int]:
        """Return the number of base tensors that transfer into their own layers, and the number of all base tensors."""
        return count_transferable(self.document, self.base_document)

    def text(self) -> str:
        """Return the model YAML as text, with a header that records its origin."""
        sites = [site for i, site in zip(self.insertions, self.sites, strict=True) if not i.block]
        sites += dict.fromkeys(str(site) for site in parse_sites(self.at) if site.use == "inside")
        options = ", ".join(f"{key}={as_yaml(value)}" for key, value in self.options.items())
        paper = f"{self.layer.paper}, {self.layer.url}" if self.layer.paper else self.layer.summary
        header = "\n".join(
            [
                f"{ModelRef.parse(self.base).stem} with {self.layer.name} at {', '.join(sites)}",
                f"{self.layer.name}: {paper}",
                f"Made by yolo-attn {__version__} from {self.base}: {self.layer.name} at {self.at}"
                + (f" with {options}" if options else ""),
            ]
        )
        return dump_model(self.document, header, self.notes)

    @property
    def file_name(self) -> str:
        """The file's name by default. Several scales share one file, so the name has no scale letter then."""
        stem = ModelRef.parse(self.base).stem
        stem = without_letter(stem) if len(self.document.get("scales") or ()) > 1 else stem
        placed = re.sub(r"[^a-z0-9]+", "-", f"{self.layer.name}-{self.at}".lower()).strip("-")
        name = shortened(f"{stem}-{placed}")
        # A file with the name of a ready config would shadow it.
        return f"{name}-placed.yaml" if (config_folder() / f"{name}.yaml").exists() else f"{name}.yaml"

    @property
    def notes(self) -> dict[int, str]:
        """The site of each of the layer's own rows, by its index."""
        return {i.row: site for i, site in zip(self.insertions, self.sites, strict=True) if not i.block}

    def save(self, file: str | Path, *, exist_ok: bool = False) -> Path:
        """Write the model YAML into a file and return its path.

        Raises:
            UserError: The file exists and `exist_ok` is False, has another suffix or the letter of another scale in its
                name, or cannot be written.
        """
        path = model_file(file)
        letter, scale = scale_letter(path), self.document.get("scale")
        if letter and letter != scale and letter in (self.document.get("scales") or {}):
            fix = f"write out={path.with_name(without_letter(path.name))}, or give the model at scale {letter}"
            raise UserError(f"out={file}: the name requires scale {letter}, but the model has scale {scale}; {fix}")
        write_new(path, self.text(), exist_ok=exist_ok)
        return path

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<{self.layer.name} at {self.at} of {self.base}>"

    def _repr_html_(self) -> str:
        head = ("row", "module", "site", "read by")
        lines = [tuple(str(row[key]) for key in ("row", "module", "site", "consumers")) for row in self.rows()]
        return html_table([head, *lines], (1, 2), self.summary().splitlines()[len(lines) :])

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each row that is new or contains the layer."""
        graph = ModelGraph(self.document)
        return [
            {"row": i.row, "module": graph.rows[i.row].module, "site": site, "consumers": i.consumers}
            for i, site in zip(self.insertions, self.sites, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the placement and its changes as a dictionary; `document` is the model YAML."""
        arriving, tensors = self.transfer()
        return {
            **{"base": self.base, "layer": self.layer.name, "at": self.at, "options": dict(self.options)},
            **{"rows": self.rows(), "document": self.document},
            **{"params_before": self.before.params, "params": self.after.params},
            **{"gflops_before": self.before.gflops, "gflops": self.after.gflops},
            **{"base_tensors": tensors, "base_tensors_kept": arriving},
        }

    def summary(self) -> str:
        """Return a summary of the changes as text."""
        lines = [self._change(i, site) for i, site in zip(self.insertions, self.sites, strict=True)]
        more = self.after.params - self.before.params
        share = 100 * more / self.before.params
        lines.append(f"parameters {self.before.params:,} -> {self.after.params:,} ({more:+,}, {share:.2f} %)")
        lines.append(f"GFLOPs at 640: {self.before.gflops:.2f} -> {self.after.gflops:.2f}")
        arriving, tensors = self.transfer()
        new = len(self.modules.state_dict()) - arriving
        replaced = [f"row {i.row}" for i in self.insertions if i.replaced]
        lost = f" (the others were those of {', '.join(replaced)})" if replaced else ""
        kept = f"{arriving}/{tensors} base tensors transfer into their own layers{lost}, {new} new"
        lines.append(f"pretrained weights: {kept}")
        return "\n".join(lines)

    def _change(self, insertion: Insertion, site: str) -> str:
        """Return one line on one insertion."""
        row = f"row {insertion.row:>3}:"
        if block := insertion.block:
            layers = counted(count_inside(self.modules[insertion.row], self.layer.name), "layer")
            return f"{row} {block} -> {block}+{self.layer.name}, {layers} inside"
        consumers = counted(insertion.consumers, "row")
        if insertion.replaced:
            return f"{row} {insertion.replaced} -> {self.layer.name}, read by {consumers}"
        if insertion.levels:
            rows = ", ".join(map(str, ModelGraph(self.document).rows[insertion.row].sources))
            return f"{row} {self.layer.name} before the head, reads rows {rows}, returns {insertion.levels} levels"
        reads = f"reads {_row_name(insertion.row - 1)}, read by {consumers} that read it before"
        return f"{row} {self.layer.name} at {site}, {reads}"


def _site_name(insertion: Insertion, levels: dict[int, str]) -> str:
    """Return the name of an insertion's site.

    Args:
        insertion: The insertion.
        levels: The names of the levels, by the row that they follow.
    """
    if insertion.levels:
        return "head"
    if insertion.new:
        return levels.get(insertion.follows, f"row {insertion.follows} of the base")
    return f"{'inside' if insertion.block else 'replace'}:{insertion.follows}"


def _row_name(index: int) -> str:
    return "the image" if index == IMAGE else f"row {index}"


def model_file(out: str | Path) -> Path:
    """Return the path of a model YAML to write, with the suffix .yaml added if it has none.

    Raises:
        UserError: It is a folder or has another suffix.
    """
    path = Path(os.path.expanduser(out))  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    if is_folder(path) or str(out).endswith("/"):
        raise UserError(f"out={out}: this is a folder; give a file, such as out={path / 'mine.yaml'}")
    if not path.suffix or path.suffix in YAML_SUFFIXES:
        return path if path.suffix else path.with_suffix(".yaml")
    right = path.with_suffix(".yaml") if path.suffix[1:].isalpha() else path.with_name(f"{path.name}.yaml")
    raise UserError(f"out={out}: the name of a model YAML ends in .yaml; write out={right}")


def place_layer(model: str, layer: str, at: str, options: dict[str, Any] | None = None) -> Placement:
    """Place a layer in a model at sites.

    A new row shifts the indices after it, and its consumers are redirected. A layer inside a block or in the place of a
    row moves no row.

    Args:
        model: A model YAML's name or path, or a checkpoint.
        layer: The layer's name or an alias.
        at: Sites with commas between them, such as "neck", "backbone.P4,neck.P3", "inside:C3k2" or
            "replace:3".
        options: The layer's options by name.

    Raises:
        UserError: Unknown layer, option or site, or a layer that cannot be at a site. Errors that only occur on
            building (the value of an option, unsuitable channels) are raised by `after` and `summary`.
    """
    base, options = model_yaml(model), dict(options or {})
    spec = layer_to_place(layer, base, "layer={layer} at={site}")
    spec.check_options(options)
    sites = parse_sites(at)
    check_sites(spec, sites, options)
    graph, strides = ModelGraph(base), row_strides(base)
    names = {row: name for name, row in reversed(list_sites(graph, strides).items())}
    insertions = place(graph, strides, spec.name, sites, options)
    document = graph.to_document()
    return Placement(
        base=model,
        layer=spec,
        at=at,
        options=options,
        document=document,
        insertions=tuple(insertions),
        sites=tuple(_site_name(insertion, names) for insertion in insertions),
        base_document=base,
    )
