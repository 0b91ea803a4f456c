"""Sites: named positions in a base where a layer can be placed.

After a row: `backbone.P3` is the last backbone row at stride 8, `backbone.end` the last backbone row, `neck.P4` the
row at stride 16 that the head reads, and `after:12` is row 12. `backbone` and `neck` mean all their levels.

Inside a block: `inside:C3k2` is every row of that block, `inside:backbone.C3k2` and `inside:neck.C3k2` are those before
and after the end of the backbone, and `inside:8` is the block in row 8.

In the place of a row: `replace:3` is row 3, a `Conv`. Between the head and all its inputs together: `head`.

Each kind of site is one class in `SITE_KINDS`, which also describes the kind for help pages and messages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph.blocks import block_of
from yolo_attn.graph.rows import IMAGE, ModelGraph

__all__ = [
    "SITE_KINDS",
    "AfterRow",
    "HeadSite",
    "InsideBlock",
    "LevelSite",
    "ReplacedRow",
    "Site",
    "SiteRows",
    "Strides",
    "list_blocks",
    "list_sites",
    "parse_site",
    "parse_sites",
    "resolve_sites",
]

Strides: TypeAlias = "Sequence[float | None]"
"""Stride of each row's output relative to the image; None where the output is not a single map."""
_SECTIONS = ("backbone", "neck")


@dataclass(frozen=True)
class Site(ABC):
    """A position in a base.

    Args:
        text: The site as written.
    """

    text: str
    form: ClassVar[str]
    """The form of such a site in help pages and messages, such as "after:<row>"."""
    summary: ClassVar[str]
    """The positions of the layer, for help pages."""
    use: ClassVar[str] = "after"
    """What a layer does with the rows, one of the fields of `SiteRows`."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Site | None:
        """Return the site that a text names, or None if the text names no site of this kind."""

    @abstractmethod
    def rows(self, graph: ModelGraph, strides: Strides) -> list[int]:
        """Return the rows of a model that the site selects.

        Raises:
            UserError: The model has no such site; the message lists its sites.
        """

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class AfterRow(Site):
    """The position after one row: `after:12`.

    Args:
        text: The site as written.
        row: Index of the row.
    """

    row: int
    form: ClassVar[str] = "after:<row>"
    summary: ClassVar[str] = "after one row"

    @classmethod
    def parse(cls, text: str) -> Site | None:
        """Parse "after:" and a row number."""
        kind, colon, row = text.partition(":")
        return cls(text, int(row)) if kind == "after" and colon and row.isdecimal() else None

    def rows(self, graph: ModelGraph, strides: Strides) -> list[int]:
        """Return the row, which must be before the head."""
        return [_row_before_head(graph, self, self.row)]


@dataclass(frozen=True)
class InsideBlock(Site):
    """The blocks of one kind, or the block of one row: `inside:C3k2`, `inside:neck.C3k2`, `inside:8`.

    Args:
        text: The site as written.
        section: "backbone" or "neck" for the blocks in it; "" for those in the whole model.
        block: Name of the block, or the number of a row.
    """

    section: str
    block: str
    form: ClassVar[str] = "inside:<block>"
    summary: ClassVar[str] = "inside each block of a kind"
    use: ClassVar[str] = "inside"

    @classmethod
    def parse(cls, text: str) -> Site | None:
        """Parse "inside:", an optional section and a block or row number."""
        kind, colon, wanted = text.partition(":")
        if kind != "inside" or not colon:
            return None
        section, _, block = wanted.strip().rpartition(".")
        return cls(text, section, block)

    def rows(self, graph: ModelGraph, strides: Strides) -> list[int]:
        """Return the rows of the blocks."""
        if self.block.isdecimal() and not self.section:
            return [_row_before_head(graph, self, int(self.block))]
        blocks = list_blocks(graph)
        rows = blocks.get(self.block, []) if self.section in ("", *_SECTIONS) else []
        if self.section:
            rows = [i for i in rows if (i < graph.backbone_length) == (self.section == "backbone")]
        if not rows:
            raise _unknown_site(self, [f"inside:{block}" for block in blocks], ["inside:<row>"])
        return rows


@dataclass(frozen=True)
class ReplacedRow(Site):
    """The place of one row: `replace:3`.

    Args:
        text: The site as written.
        row: Index of the row.
    """

    row: int
    form: ClassVar[str] = "replace:<row>"
    summary: ClassVar[str] = "in the place of a row of Conv, for convolutions"
    use: ClassVar[str] = "replaced"

    @classmethod
    def parse(cls, text: str) -> Site | None:
        """Parse "replace:" and a row number."""
        kind, colon, row = text.partition(":")
        return cls(text, int(row)) if kind == "replace" and colon and row.isdecimal() else None

    def rows(self, graph: ModelGraph, strides: Strides) -> list[int]:
        """Return the row, which must be before the head."""
        return [_row_before_head(graph, self, self.row)]


@dataclass(frozen=True)
class HeadSite(Site):
    """The position before the head, between it and all its inputs together: `head`."""

    form: ClassVar[str] = "head"
    summary: ClassVar[str] = "all inputs of the head together, for layers such as DyHead"
    use: ClassVar[str] = "head"

    @classmethod
    def parse(cls, text: str) -> Site | None:
        """Parse "head"."""
        return cls(text) if text == cls.form else None

    def rows(self, graph: ModelGraph, strides: Strides) -> list[int]:
        """Return the head, if it reads several rows."""
        if len(graph.rows[graph.head_index].sources) == 1:
            raise UserError("site 'head': this model's head reads one row; place a layer of one map at 'neck'")
        return [graph.head_index]


@dataclass(frozen=True)
class LevelSite(Site):
    """The end of a level of the backbone or the neck, or of all levels: `backbone.P3`, `backbone.end`, `neck`."""

    form: ClassVar[str] = "neck, neck.P3 ..., backbone, backbone.P4 ..., backbone.end"
    summary: ClassVar[str] = "the inputs of the head, the ends of levels"

    @classmethod
    def parse(cls, text: str) -> Site | None:
        """Accept any text: the names of the levels depend on the model."""
        return cls(text)

    def rows(self, graph: ModelGraph, strides: Strides) -> list[int]:
        """Return the rows that end the levels; for `neck` all inputs of the head, also several of one level."""
        named, read = list_sites(graph, strides), _neck_rows(graph, strides)
        backbone = [row for name, row in named.items() if name.startswith("backbone.P")]
        levels = {"backbone": backbone, "neck": [row for rows in read.values() for row in rows]}
        rows = [named[self.text]] if self.text in named else levels.get(self.text, [])
        if len(several := read.get(self.text, [])) > 1:
            fix = f"place the layer at {' or '.join(f'after:{row}' for row in several)}, or at neck for all inputs"
            raise UserError(f"site '{self}': the head reads rows {', '.join(map(str, several))} of this level; {fix}")
        if not rows:
            known = [*(section for section in _SECTIONS if levels[section]), *named]
            absent = {LevelSite} if len(graph.rows[graph.head_index].sources) > 1 else {LevelSite, HeadSite}
            raise _unknown_site(self, [*known, *(kind.form for kind in SITE_KINDS if kind not in absent)])
        return rows


SITE_KINDS: tuple[type[Site], ...] = (AfterRow, ReplacedRow, InsideBlock, HeadSite, LevelSite)
"""The kinds of sites in the order in which they parse a text; the last accepts any text."""


class SiteRows(NamedTuple):
    """The rows that sites select, in order, each once.

    Args:
        after: The rows after which a new row goes.
        replaced: The rows that a layer replaces.
        inside: The rows whose blocks get a layer inside.
        head: The head, if a layer goes between it and all its inputs.
    """

    after: list[int]
    replaced: list[int]
    inside: list[int]
    head: list[int]


def parse_site(text: str) -> Site:
    """Parse one site."""
    return next(site for kind in SITE_KINDS if (site := kind.parse(text.strip())))


def parse_sites(text: str) -> tuple[Site, ...]:
    """Parse sites separated by commas, such as "neck" or "backbone.P4,inside:C3k2"."""
    return tuple(parse_site(part) for part in text.split(","))


def resolve_sites(graph: ModelGraph, strides: Strides, sites: Iterable[Site]) -> SiteRows:
    """Return the rows that sites select.

    Args:
        graph: The model.
        strides: Stride of each row's output relative to the image; None where the output is not a single map.
        sites: The sites.

    Raises:
        UserError: The model does not have a site; the message lists its sites.
    """
    rows: dict[str, set[int]] = {use: set() for use in SiteRows._fields}
    for site in sorted(sites, key=lambda site: SiteRows._fields.index(site.use)):
        rows[site.use].update(site.rows(graph, strides))
    return SiteRows(**{use: sorted(found) for use, found in rows.items()})


def list_sites(graph: ModelGraph, strides: Strides) -> dict[str, int]:
    """Return the levels of a model by the names of their sites, each with the row it follows.

    A level of the neck of which the head reads several rows has no site.

    Args:
        graph: The model.
        strides: Stride of each row's output relative to the image; None where the output is not a single map.
    """
    sites: dict[str, int] = {}
    for level in range(1, 8):
        backbone = [i for i in range(min(graph.backbone_length, graph.head_index)) if strides[i] == 2**level]
        if backbone and level > 1:  # stride 2 is the stem, which has no features to attend to yet
            sites[f"backbone.P{level}"] = backbone[-1]
    if graph.backbone_length <= graph.head_index:
        sites["backbone.end"] = graph.backbone_length - 1
    neck = _neck_rows(graph, strides)
    sites.update({name: rows[0] for name, rows in neck.items() if name and len(rows) == 1})
    return sites


def _neck_rows(graph: ModelGraph, strides: Strides) -> dict[str, list[int]]:
    """Return the rows with a map that the head reads, by the names of their levels; "" for other strides."""
    rows: dict[str, list[int]] = {}
    for i in dict.fromkeys(graph.rows[graph.head_index].sources):
        stride = strides[i]
        if i == IMAGE or stride is None:
            continue
        is_level = stride >= 1 and float(stride).is_integer() and int(stride).bit_count() == 1
        rows.setdefault(f"neck.P{int(stride).bit_length() - 1}" if is_level else "", []).append(i)
    return rows


def list_blocks(graph: ModelGraph) -> dict[str, list[int]]:
    """Return the blocks of a model that a layer can go inside, each with its rows."""
    blocks: dict[str, list[int]] = {}
    for i, row in enumerate(graph.rows[: graph.head_index]):
        if "." not in row.module:  # a bare operation, such as nn.Upsample
            blocks.setdefault(block_of(row.module), []).append(i)
    return blocks


def _row_before_head(graph: ModelGraph, site: Site, index: int) -> int:
    """Return a row's index after checking that the row is before the head."""
    if index >= graph.head_index:
        raise UserError(f"site '{site}': this model's rows before the head are 0 to {graph.head_index - 1}")
    return index


def _unknown_site(site: Site, known: list[str], forms: Sequence[str] = ()) -> UserError:
    """Return the error for a site that a model does not have.

    Args:
        site: The site.
        known: The sites that may be suggested for it.
        forms: Further sites to list.
    """
    listed = ", ".join([*known, *forms])
    return UserError(f"no site {site.text!r} in this model{did_you_mean(site.text, known)}; it has {listed}")
