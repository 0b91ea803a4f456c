"""Which layers each export format carries exactly, as measured by `benchmarks/exports.py`.

The measurements are in `exports.json`, next to this file. The table of docs/export.md and the search read them here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from yolo_attn.system.paths import shipped

__all__ = ["CLOSE", "EXACT", "REASONS", "RECORD", "TITLES", "Cell", "Reason", "number_of", "read_cells", "read_record"]

RECORD = shipped("exports.json")
EXACT, CLOSE = 1e-4, 0.05
"""Largest differences of boxes and scores, relative to the largest box coordinate and score, of the two classes."""

TITLES = {
    "torchscript": "TorchScript",
    "onnx": "ONNX",
    "onnx-dynamic": "ONNX dynamic",
    "onnx-half": "ONNX half",
    "openvino": "OpenVINO",
    "ncnn": "NCNN",
    "mnn": "MNN",
    "litert": "LiteRT",
    "executorch": "ExecuTorch",
    "paddle": "PaddlePaddle",
}
"""The titles of the measured formats, in the order of the table."""


@dataclass(frozen=True)
class Cell:
    """What became of one layer in one format.

    Args:
        boxes: Largest difference of a box coordinate, relative to the largest coordinate.
        scores: Largest difference of a score, relative to the largest score.
        same_detections: Whether the images have the same detections.
        problem: The first line of the error where there are no outputs to compare.
    """

    boxes: float | None = None
    scores: float | None = None
    same_detections: bool = False
    problem: str = ""

    @property
    def difference(self) -> float:
        """The larger of both differences; infinite without outputs."""
        return float("inf") if self.boxes is None or self.scores is None else max(self.boxes, self.scores)

    @property
    def verdict(self) -> str:
        """`exact`, `tolerance` or `no`."""
        if self.difference <= EXACT and self.same_detections:
            return "exact"
        return "tolerance" if self.difference <= CLOSE else "no"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields with a value."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


@dataclass(frozen=True)
class Reason:
    """Why layers are not exact in formats.

    Args:
        forms: Keys of `TITLES`.
        layers: Names of the layers; none for all layers that differ within the tolerance.
        text: The operation, what becomes of it, and what to do instead.
    """

    forms: tuple[str, ...]
    layers: tuple[str, ...]
    text: str

    def explains(self, form: str, layer: str, cell: Cell) -> bool:
        """Return whether the reason is that of a cell."""
        return form in self.forms and (layer in self.layers if self.layers else cell.verdict == "tolerance")


REASONS = (
    Reason(
        ("onnx-half",),
        (),
        "Half precision rounds weights and features to 11 bits.",
    ),
    Reason(
        ("onnx-half",),
        ("AFF", "iAFF"),
        "The batch norms of the globally pooled features amplify rounding errors: their statistics are here those of "
        "two images, with standard deviations down to 0.002. In PyTorch the layer computes them in float32; a model in "
        "half precision does not. With variances of at least 0.01 the difference is 0.01.",
    ),
    Reason(
        ("onnx", "onnx-dynamic", "onnx-half", "openvino", "mnn"),
        ("DHSA",),
        "The layer sorts features, so a difference in the last digit swaps elements that are nearly equal, and the "
        "queries and keys at their positions. In PyTorch, too, features that are changed by 2 · 10⁻⁷ change scores by "
        "up to 0.15.",
    ),
    Reason(
        ("onnx", "onnx-dynamic"),
        ("SpatialChannelReconstruction",),
        "Which part a value belongs to depends on its sign after a group norm, and a rounding error moves one across "
        "zero. In PyTorch, too, features that are changed by 10⁻⁶ of the largest one change scores by 0.002 to 0.03.",
    ),
    Reason(
        ("ncnn",),
        (),
        "NCNN stores the weights of fully connected layers in half precision. With `net.opt.use_fp16_storage = False` "
        "SK, CPCA and STN, which differ most, are exact.",
    ),
    Reason(
        ("ncnn",),
        ("EMA", "ShuffleAttention"),
        "The groups of channels are folded into the batch, which an NCNN model does not have. `groups=1` is exact.",
    ),
    Reason(("ncnn",), ("SCSE",), "NCNN has no comparison of tensors. `combine=sum` is exact."),
    Reason(
        ("ncnn",),
        ("SpatialChannelReconstruction",),
        "NCNN has no comparison of tensors and no masks (`gt`, `masked_fill`). Export to OpenVINO or MNN.",
    ),
    Reason(
        ("ncnn",),
        ("AggregatedAttention", "HiLo", "LocalAttention"),
        "NCNN has no masks (`masked_fill`) and no tensors of more than four dimensions, so no windows. Export to "
        "OpenVINO or MNN.",
    ),
    Reason(
        ("ncnn",),
        ("ASSA", "CAFMFusion", "CGAFusion", "LocalWindowAttention", "SAFM", "SMFA", "SwinWindow"),
        "NCNN has no `index_select`, which gathers positions into windows, cells and borders. Export to "
        "OpenVINO or MNN.",
    ),
    Reason(
        ("ncnn",),
        ("DHSA", "SS2D"),
        "NCNN has no `sort` and `gather` (DHSA), and cannot load the parameters of the scan (SS2D). Export to OpenVINO "
        "or MNN.",
    ),
    Reason(
        ("ncnn",),
        ("AreaAttention",),
        "**Wrong without an error**. The layer cuts the positions into areas, with a mask for the last one, but which "
        "operator differs is not known. Export to OpenVINO or MNN.",
    ),
    Reason(("ncnn",), ("BRA",), "NCNN has no `topk` and no indexing by a tensor. Export to OpenVINO."),
    Reason(
        ("ncnn",),
        (
            "CoT",
            "DLKA",
            "DyHead",
            "FSAS",
            "iRMB",
            "MaSA",
            "OmniKernel",
            "Outlook",
            "RFCAConv",
            "SeparableSelfAttention",
        ),
        "NCNN has no tensors of more than four dimensions, so no windows, patches and lines. The exported file cannot "
        "be loaded. Export to OpenVINO or MNN.",
    ),
    Reason(
        ("ncnn",),
        ("Axial",),
        "Lines of the map are folded into the batch, which an NCNN model does not have; the output is not finite. "
        "Export to OpenVINO or MNN.",
    ),
    Reason(("ncnn",), ("ACmix",), "NCNN's converter does not know `addcmul`. Export to OpenVINO or MNN."),
    Reason(
        ("ncnn",),
        ("CrissCross", "DualAttention", "PAM"),
        "NCNN's converter pnnx crashes (`std::bad_alloc`). Export to OpenVINO or MNN. Among layers that attend to all "
        "positions, SelfAttention, MHSA and NonLocal are exact.",
    ),
    Reason(
        ("mnn",),
        ("AggregatedAttention", "CPCA", "FocalModulation", "MultiSEAM", "OmniKernel", "RCM", "SAFM", "SMFA"),
        "MNN replaces the error function of GELU by an approximation, with errors up to 10⁻⁴ in the layer.",
    ),
    Reason(("mnn",), ("GAM",), "MNN computes convolutions of size 7 by a less exact algorithm, errors up to 4 · 10⁻⁴."),
    Reason(
        ("litert",),
        ("SOCA",),
        "The exported identity matrix (`torch.eye`) is a `STABLEHLO_IOTA`, which LiteRT's interpreter does not have. "
        "Export to OpenVINO.",
    ),
    Reason(
        ("litert",),
        ("Polarized",),
        "LiteRT's converter rejects the product of a vector and a map (`batch_matmul` with an output of rank 4). "
        "Export to OpenVINO.",
    ),
    Reason(
        ("executorch",),
        ("ELA", "SCSA"),
        "XNNPACK's pass for channels last fails on the convolutions along rows and columns (non-NHWC compatible node). "
        "Export to OpenVINO.",
    ),
    Reason(
        ("executorch",),
        ("HiLo", "iRMB", "Outlook"),
        "XNNPACK has no tensors of more than six dimensions; the windows of several heads have seven or eight. Export "
        "to OpenVINO.",
    ),
    Reason(
        ("executorch",),
        ("BRA",),
        "ExecuTorch's attention with a mask has another memory layout, in which a view of the exported graph fails. "
        "Export to OpenVINO.",
    ),
    Reason(
        ("paddle",),
        ("CrossAttention", "DualAttention", "MHSA", "PAM", "SelfAttention", "TransformerDecoder", "TransformerEncoder"),
        "**Wrong without an error**: x2paddle passes the arguments of `scaled_dot_product_attention` on as they are, "
        "but Paddle expects heads after positions and ignores `scale`. Export to OpenVINO.",
    ),
    Reason(
        ("paddle",),
        ("MixedPooling", "ResidualAttention"),
        "**Wrong without an error**. Both layers enlarge maps bilinearly with aligned corners, but which operator "
        "differs is not known. Export to OpenVINO.",
    ),
    Reason(
        ("paddle",),
        ("EfficientAdditive", "MCA", "SimAM", "SOCA", "SRM"),
        "x2paddle has no `square`. Export to OpenVINO.",
    ),
    Reason(("paddle",), ("DAttention", "DLKA", "STN"), "x2paddle has no `grid_sampler`. Export to OpenVINO."),
    Reason(
        ("paddle",),
        ("ACmix", "AgentAttention", "CrissCross", "HardAttention", "HiLo", "LocalAttention", "Outlook", "SCSE"),
        "x2paddle lacks operators: `addcmul`, `unbind` (ACmix, Outlook), `upsample_linear1d` (AgentAttention), "
        "`baddbmm` (CrissCross), `ceil` (HardAttention), `ones_like` (HiLo), `__or__` (LocalAttention), `ge` and "
        "`maximum` (SCSE). Export to OpenVINO.",
    ),
    Reason(
        ("paddle",),
        ("NAM", "NAMSpatial", "WeightedFusion"),
        "x2paddle fails (`IndexError`) where a weight is computed from parameters alone. Export to OpenVINO.",
    ),
    Reason(
        ("paddle",),
        ("CoT", "NonLocal", "S2", "SCSA"),
        "x2paddle ends the process without a message while it converts. Export to OpenVINO.",
    ),
    Reason(
        ("paddle",),
        ("Axial", "BRA", "iRMB"),
        "Paddle rejects the converted program: a slice without an end (Axial, BRA), a dimension of the windows (iRMB). "
        "Export to OpenVINO.",
    ),
)


def read_record() -> dict[str, Any]:
    """Return the record: versions of packages by format, and cells by format and layer."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def read_cells() -> dict[tuple[str, str], Cell]:
    """Return the measured cells by format and layer."""
    cells = read_record()["cells"]
    return {(form, layer): Cell(**cell) for form, layers in cells.items() for layer, cell in layers.items()}


def number_of(form: str, layer: str, cell: Cell) -> int | None:
    """Return the number of a cell's reason, from 1; None without one."""
    found = [(not reason.layers, n) for n, reason in enumerate(REASONS, 1) if reason.explains(form, layer, cell)]
    return min(found)[1] if found else None  # the reason of single layers before that of all
