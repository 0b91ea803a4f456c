"""The command `maps`: images, statistics, errors."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.cli.helpers import refuse, run
from yolo_attn.analysis.letterbox import Frame
from yolo_attn.analysis.mapfile import load_maps
from yolo_attn.analysis.maps import AttentionMap, ImageMaps, Statistics
from yolo_attn.analysis.models import open_model
from yolo_attn.analysis.overlay import _DPI, _INCHES, draw, limits
from yolo_attn.analysis.viewer import record_maps


@pytest.fixture
def images(fresh_folder: Path) -> Path:
    """A folder of two images of different shapes."""
    folder = fresh_folder / "images"
    folder.mkdir()
    for name, shape in (("wide.png", (60, 128, 3)), ("tall.jpg", (128, 60, 3))):
        content = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        (folder / name).write_bytes(cv2.imencode(Path(name).suffix, content)[1].tobytes())
    return folder


SPOILT = ("a_broken.png", "z_empty.jpg")


def maps(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    return run("maps", *words, "imgsz=64", capsys=capsys)


def test_a_png_for_each_image_and_a_table(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = maps("model=yolo11n-cbam.yaml", "source=images", capsys=capsys)
    assert status == 0
    assert sorted(p.name for p in Path("runs/maps").iterdir()) == ["tall.png", "wide.png"]
    rendered = cv2.imread("runs/maps/tall.png")
    assert rendered is not None
    assert min(rendered.shape[:2]) > 200
    cells = [line.split() for line in out.splitlines()]
    assert [line[:3] for line in cells if line[:1] in (["17"], ["21"], ["25"])] == [
        [row, layer, level]
        for row, level in (("17", "P3"), ("21", "P4"), ("25", "P5"))
        for layer in ("CBAM.channel", "CBAM.spatial")
    ]
    assert out.splitlines()[-1] == f"2 images in {Path('runs/maps')}"


def test_folders_are_numbered_by_default(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=yolo11n-se.yaml", "source=images/wide.png", "project=here", "name=se")
    for _ in range(2):
        assert maps(*words, capsys=capsys)[0] == 0
    assert len(list(Path("here").iterdir())) == 2
    assert maps(*words, "exist_ok=True", capsys=capsys)[0] == 0
    assert len(list(Path("here").iterdir())) == 2


def test_dead_gates_are_named(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = "model=yolo11n.yaml+CBAM[init=identity]@neck.P4"
    _, out, _ = maps(model, "source=images", capsys=capsys)
    assert [line for line in out.splitlines() if line.startswith("dead")] == [
        "dead: row 20 CBAM.channel (P4): 1 everywhere",
        "dead: row 20 CBAM.spatial (P4): 1 everywhere",
    ]


def test_layers_without_maps_are_named(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = maps("model=yolo11n-pam.yaml", "source=images", capsys=capsys)
    assert status == 0
    assert "no map: row 17 PAM: each position has weights of its own; add point=x,y or point=detections" in out
    _, out, _ = maps("model=yolo11n-cot.yaml", "source=images", capsys=capsys)
    assert "no map: row 17 CoT: it has no gate and no weights to show" in out
    assert not Path("runs").exists()


def test_an_unreadable_image_is_skipped_and_named(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "a_broken.png").write_bytes(b"no image")
    (images / "z_empty.jpg").write_bytes(b"")
    status, out, _ = maps("model=yolo11n-se.yaml", "source=images", capsys=capsys)
    assert status == 0
    assert sorted(p.name for p in Path("runs/maps").iterdir()) == ["tall.png", "wide.png"]
    skipped = [f"skipped: {Path('images') / name}: not an image or video that OpenCV can read" for name in SPOILT]
    assert out.splitlines()[-3:] == [*skipped, f"2 images in {Path('runs/maps')}, 2 skipped"]
    found = json.loads(maps("model=yolo11n-se.yaml", "source=images", "format=json", capsys=capsys)[1])
    assert (found["images"], found["files"]) == (2, ["tall.png", "wide.png"])
    assert [Path(reason.partition(": ")[0]).name for reason in found["skipped"]] == list(SPOILT)


def test_a_folder_of_unreadable_images_is_an_error(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in images.iterdir():
        path.write_bytes(b"no image")
    message = refuse("maps", "model=yolo11n-se.yaml", "source=images", capsys=capsys)
    assert "tall.jpg: not an image or video that OpenCV can read (and of 1 more image none can be used)" in message
    assert "more" not in refuse("maps", "model=yolo11n-se.yaml", "source=images/wide.png", capsys=capsys)
    assert not Path("runs").exists()


def test_json(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = maps("model=yolo11n-se.yaml", "source=images", "format=json", capsys=capsys)
    found = json.loads(out)
    assert (found["images"], found["files"]) == (2, ["tall.png", "wide.png"])
    layer = found["layers"][0]
    assert (layer["row"], layer["name"], layer["level"], layer["unit"], layer["kind"]) == (
        17, "SE", "P3", "gate", "channels",
    )  # fmt: skip
    assert {"mean", "sd", "zeros", "ones", "low", "high", "dead"} <= set(layer)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("source=images",), "maps requires model="),
        (("model=yolo11n-se.yaml",), "maps requires source="),
        (("model=yolo11n-se.yaml", "source=imges"), "did you mean images?"),
        (("model=yolo11n-se.yaml", "source=images", "projct=x"), "did you mean project?"),
        (("model=yolo11n.yaml", "source=images"), "no attention layers"),
        (("model=nowhere.pt", "source=images"), "no such checkpoint"),
        (("model=yolo11n-se.yaml", "source=images", "exist_ok"), "did you mean exist_ok=...?"),
        (("model=yolo11n-se.yaml", "source=images", "format=yaml"), "use text or json"),
    ],
)
def test_errors_write_nothing(
    words: tuple[str, ...], expected: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refuse("maps", *words, capsys=capsys)
    assert not Path("runs").exists()


def gate_map(values: np.ndarray, frame: Frame | None = None) -> AttentionMap:
    """Return a map of positions of 8 pixels."""
    height, width = (8 * side for side in values.shape)
    frame = frame or Frame(height, width, 0, 0, height, width)
    layer = {"row": 3, "name": "X", "layer": "X", "part": "", "stride": 8, "unit": "gate", "kind": "map"}
    return AttentionMap(**layer, array=values, statistics=Statistics.of(values), frame=frame)  # type: ignore[arg-type]


def test_maps_of_a_layer_share_their_colors() -> None:
    """Small differences do not fill the scale, one peak does not darken the rest, and the padding has no effect."""
    even = np.full((10, 10), 0.5, np.float32)
    assert limits([gate_map(even), gate_map(even + 0.01)]) == pytest.approx((0.455, 0.555))
    assert limits([gate_map(even - 0.4), gate_map(even + 0.4)]) == pytest.approx((0.1, 0.9))
    peak = even.copy()
    peak[0, 0] = 100
    assert limits([gate_map(peak), gate_map(even - 0.4)])[1] < 1
    padded = even.copy()
    padded[:3] = 50
    assert limits([gate_map(padded, Frame(80, 80, 24, 0, 56, 80))])[1] == pytest.approx(0.55)


def test_a_map_is_rendered_at_its_position() -> None:
    """A gate open in the lower right quarter, over a gray image."""
    values = np.zeros((8, 8), np.float32)
    values[4:, 4:] = 1
    png = draw(ImageMaps("no $formula$_{.jpg", np.full((64, 64, 3), 90, np.uint8), (gate_map(values),), ()))
    rendered = cv2.imdecode(np.frombuffer(png, np.uint8), 1)[:, : int(_INCHES * _DPI * 2)]  # without the color bar
    blue, green, red = (rendered[..., n].astype(int) for n in range(3))
    yellow, purple = (red - blue > 60) & (green > 120), (blue - green > 25) & (green < 90)  # the ends of the colors
    (top, left), (bottom, right) = np.argwhere(purple).min(0), np.argwhere(purple).max(0)
    y, x = np.argwhere(yellow).mean(0)
    assert (y - top) / (bottom - top) == pytest.approx(0.75, abs=0.06)
    assert (x - left) / (right - left) == pytest.approx(0.75, abs=0.06)
    gray = (rendered == 90).all(2)[:, :left].sum(1)  # of the image beside the map
    assert np.argmax(gray > 100) == pytest.approx(top, abs=2)


def test_a_run_keeps_the_maps_of_a_few_images(images: Path) -> None:
    files = sorted(images.iterdir())
    assert record_maps("yolo11n-cbam.yaml", files, Path("maps.npz"), imgsz=64) == 6
    stored = load_maps(Path("maps.npz"))
    assert stored.images == ("tall.jpg", "wide.png")
    assert [layer.maps[0].shape for layer in stored.layers if layer.kind == "map"] == [(8, 4), (4, 2), (2, 1)]
    assert record_maps(open_model("yolo11n.yaml"), files, Path("none.npz"), imgsz=64) == 0
    assert record_maps("yolo11n-pam.yaml", files, Path("none.npz"), imgsz=64) == 0
    assert not Path("none.npz").exists()


def test_an_unreadable_image_does_not_fail_a_run(images: Path) -> None:
    files = sorted(images.iterdir())
    files[0].write_bytes(b"no image")
    assert record_maps("yolo11n-se.yaml", files, Path("maps.npz"), imgsz=64) == 3
    assert load_maps(Path("maps.npz")).images == ("wide.png",)
    assert record_maps("yolo11n-se.yaml", files[:1], Path("none.npz"), imgsz=64) == 0
    assert not Path("none.npz").exists()


@pytest.mark.slow
def test_a_trained_model_end_to_end(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train on the built-in data, map the checkpoint, measure it next to its base."""
    from yolo_attn.data import resolve_data

    torch.manual_seed(0)
    train = ("model=yolo11n.yaml+CBAM[init=identity]@neck", "data=digits", "epochs=2", "imgsz=96", "fraction=0.2")
    assert run("train", *train, f"project={fresh_folder}", "name=t", "plots=False", "device=cpu", capsys=capsys)[0] == 0
    weights = fresh_folder / "t" / "weights" / "last.pt"
    data = Path(resolve_data("digits"))
    source = next(p for p in data.parent.rglob("images/val") if p.is_dir())
    picked = fresh_folder / "few"
    picked.mkdir()
    for path in sorted(source.iterdir())[:3]:
        (picked / path.name).write_bytes(path.read_bytes())
    status, out, _ = run("maps", f"model={weights}", "source=few", "format=json", capsys=capsys)
    assert status == 0
    found = json.loads(out)
    assert (found["images"], len(found["files"]), len(found["layers"])) == (3, 3, 6)
    assert all(layer["sd"] > 0 for layer in found["layers"])  # training has moved gamma from 0
    words = (f"model={weights}", "against=yolo11n.yaml", "imgsz=96", "rounds=2", "device=cpu", "format=json")
    _, out, _ = run("profile", *words, capsys=capsys)
    base, trained = json.loads(out)
    assert trained["params"] > 1_000_000 < base["params"]
