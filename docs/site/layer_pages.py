"""The page of an attention layer on the documentation site, made from its card."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from yolo_attn import cards
from yolo_attn.errors import counted
from yolo_attn.leaderboard import read_boards
from yolo_attn.registry import LayerSpec
from yolo_attn.system.files import as_yaml

__all__ = ["file_name", "page"]


def file_name(spec: LayerSpec) -> str:
    """Return the name of the layer's page."""
    return f"{spec.name.lower()}.md"


def page(spec: LayerSpec, figure: str | None, exports: str | None) -> str:
    """Return the page of a layer as Markdown.

    Args:
        spec: The layer.
        figure: Name of the figure of its maps, or None.
        exports: Link to the page about exports, or None.
    """
    facts = cards.as_dict(spec)
    parts = [
        f"# {spec.name}",
        f"{spec.summary[0].upper()}{spec.summary[1:]}.",
        *_figure(spec, figure),
        "## Use",
        *_use(facts),
        "## Options",
        _options(spec),
        "## Definition",
        *_definition(inspect.getdoc(inspect.getmodule(spec.cls)) or ""),
        "## Facts",
        _table(("", ""), _facts(spec, facts)),
        "## Measurements",
        *_measurements(facts["measured"], exports),
        *_comparisons(spec),
    ]
    return "\n\n".join(parts) + "\n"


def _figure(spec: LayerSpec, figure: str | None) -> Iterator[str]:
    if figure:
        yield f"![Maps of {spec.name} over an image of digits]({figure})"
        yield (
            "A test image of `digits` and the layer's maps at P3 and P4, by `yolo-attn maps`; of self-attention the "
            "weights of the position in the middle, which is marked. A YOLO11n was trained for 15 epochs, and then "
            "with the layer for one epoch on half of the images. The maps show what the mechanism looks at, not how "
            "good it is."
        )


def _use(facts: dict[str, Any]) -> Iterator[str]:
    option = next(({k: v} for k, v in facts["options"].items() if k != "init"), {"init": "identity"})
    with_option = facts["row"].replace("[]]", f"[{as_yaml(option)}]]")
    yield f"Rows of a model YAML, without and with an option:\n\n```yaml\n{facts['row']}\n{with_option}\n```"
    if facts["inputs"] == 1 and not facts["more_inputs"]:
        commands = (
            f"yolo-attn place model=yolo11n.yaml layer={facts['name']} at=neck init=identity out=mine.yaml",
            f"yolo-attn train model=yolo11n.yaml+{facts['name']}@neck data=digits recipe=digits",
        )
        yield "A model YAML with the layer, and training without one:\n\n```bash\n" + "\n".join(commands) + "\n```"
    if facts["configs"]:
        yield f"Ready model YAMLs, at every scale: {', '.join(f'`{name}`' for name in facts['configs'])}."


def _options(spec: LayerSpec) -> str:
    meanings = _arguments(inspect.getdoc(spec.cls) or "")
    rows = [(f"`{name}`", f"`{as_yaml(value)}`", meanings.get(name, "")) for name, value in spec.options.items()]
    return _table(("option", "default", "meaning"), rows)


def _arguments(docstring: str) -> dict[str, str]:
    """Return the meanings of the arguments in a Google docstring."""
    block = re.search(r"^Args:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    text = block[1] if block else ""
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def _definition(docstring: str) -> Iterator[str]:
    """Yield the paragraphs of a module's docstring: indented ones as formulas, `Paper:` and the like as a list."""
    first, *others = docstring.strip().split("\n\n")
    yield _sentence(first.partition(": ")[2] or first)
    for paragraph in others:
        if paragraph.startswith("    "):
            yield f"```text\n{inspect.cleandoc(paragraph)}\n```"
        else:
            items = re.split(r"\n(?=[A-Z][\w ]*: )", paragraph)
            yield "\n".join(re.sub(r"^([A-Z][\w ]*):", r"- **\1:**", _linked(item)) for item in items)


def _linked(text: str) -> str:
    """Return a text in one line, with links for its papers and addresses."""
    text = re.sub(r"(?<!`)\bhttps://[^\s,;)]*[\w/]", r"<\g<0>>", " ".join(text.split()))
    return re.sub(r"\barXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def _sentence(text: str) -> str:
    joined = " ".join(text.split())
    return joined[0].upper() + joined[1:]


def _facts(spec: LayerSpec, facts: dict[str, Any]) -> list[tuple[str, ...]]:
    paper = f"[{spec.paper}]({spec.url})" if spec.url else spec.paper
    norms = [f"`{norm['name']}`: {norm['kind']}, eps {norm['eps']:g}" for norm in facts["norms"]]
    rows = {
        "paper": paper,
        "code": f"<{spec.repository}>" if spec.repository.startswith("http") else spec.repository,
        "family": spec.family.replace("_", " "),
        "other names": ", ".join(f"`{alias}`" for alias in spec.aliases),
        "inputs": spec.input_count,
        "parameters": f"{facts['params_256']:,} at 256 channels",
        "cost": spec.cost,
        "`init: identity`": spec.identity,
        "norms": "<br>".join(norms),
    }
    return [(key, value) for key, value in rows.items() if value]


def _measurements(measured: dict[str, Any], exports: str | None) -> Iterator[str]:
    vectors = len(measured["vectors"])
    parity = (
        f"{counted(vectors, 'reference vector')}, largest relative error {measured['parity']:.0e}"
        if vectors
        else "no reference vector; compared with its formula"
    )
    rows = [
        ("inference", f"{measured['infer_ratio']:g} times a 3 x 3 convolution of the same width"),
        ("training", f"{measured['train_ratio']:g} times"),
        ("memory", f"{measured['infer_mb']:g} MB in inference at 64 x 160 x 160"),
        ("agreement with the reference", parity),
        ("ONNX, fixed size", _export(measured["onnx"]["fixed"])),
        ("ONNX, dynamic size", _export(measured["onnx"]["dynamic"])),
    ]
    yield _table(("", ""), rows)
    yield (
        f"Measured {measured['date']} on {measured['machine']}, PyTorch {measured['versions']['torch']}, as described "
        "in [the overview](../layers.md)." + (f" [Exports]({exports}) has the other formats." if exports else "")
    )


def _comparisons(spec: LayerSpec) -> Iterator[str]:
    """Yield the layer's rows on the leaderboard; nothing if there is none."""
    found = [
        (name, cards.in_words(board, row))
        for name, board in read_boards().items()
        for row in board.rows
        if row.layer == spec.name
    ]
    if found:
        yield "## Comparisons"
        yield _table(("dataset", "difference to the base, in points"), found)
        yield "From the [leaderboard](../leaderboard.md), which has the commands and says what it does not show."


def _export(error: float | None) -> str:
    return "no" if error is None else f"yes, relative difference {error:.0e}"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
