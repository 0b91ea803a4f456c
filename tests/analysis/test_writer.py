"""Files of attention maps: figures, arrays, the page."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

import yolo_attn
from tests.cli.helpers import run
from yolo_attn.analysis import video
from yolo_attn.analysis.gallery import Gallery
from yolo_attn.analysis.maps import ImageMaps
from yolo_attn.analysis.overlay import Scales, Style, _check_size, draw, draw_frame
from yolo_attn.analysis.sources import Frames, Shown
from yolo_attn.analysis.video import FigureVideo
from yolo_attn.analysis.writer import MapWriter
from yolo_attn.errors import UserError
from yolo_attn.host.documents import model_yaml

from .test_gallery import gate_map
from .test_maps import image
from .test_sources import make_video

MODEL = "yolo11n.yaml+CBAM@neck.P4+DAttention[head_width=16,groups=2,stride=2]@neck.P5"


@pytest.fixture
def street(fresh_folder: Path) -> Path:
    cv2.imwrite("street.png", image())
    return fresh_folder


def write(save: str, **options: object) -> Gallery:
    torch.manual_seed(0)
    return yolo_attn.attention_maps(
        MODEL,
        "street.png",
        folder="maps",
        imgsz=128,
        point=(20, 30),
        save=save,
        **options,  # type: ignore[arg-type]
    )


def test_kinds_of_files(street: Path) -> None:
    found = write("pdf,svg,npz,html")
    assert found.files == ("street.png", "street.pdf", "street.svg", "street.npz", "index.html")
    assert sorted(path.name for path in Path("maps").iterdir()) == sorted(found.files)
    assert Path("maps/street.pdf").read_bytes().startswith(b"%PDF")
    svg = Path("maps/street.svg").read_text()
    assert svg.startswith("<?xml") and "</svg>" in svg
    page = Path("maps/index.html").read_text()
    assert 'src="street.png"' in page and "<td" in page and "half of the weight" in page
    with pytest.raises(UserError, match=r"^save=pngs: use png, pdf, svg, html, npz, video; did you mean png\?$"):
        write("pngs")


def test_arrays_are_those_of_the_maps(street: Path) -> None:
    write("npz")
    torch.manual_seed(0)
    found = yolo_attn.attention_maps(MODEL, "street.png", imgsz=128, point=(20, 30))
    with np.load("maps/street.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        np.testing.assert_array_equal(file["image"][..., ::-1], cv2.imread("street.png"))
        assert file["extent_0"].tolist() == [-0.5, 127.5, 63.5, -0.5]
        assert [(each["name"], each["kind"]) for each in about["maps"]] == [
            ("CBAM.channel", "channels"),
            ("CBAM.spatial", "map"),
        ]
        for n, each in enumerate(found.maps):
            np.testing.assert_array_equal(file[f"map_{n}"], each.array)
        (query,) = found.queries
        np.testing.assert_allclose(file["query_0"], query.heads, atol=1e-6)
        assert (about["queries"][0]["x"], about["queries"][0]["y"]) == (20, 30)
        assert file["points_0"].shape == (*file["weights_0"].shape, 2)
        x, y, _ = query.points_on_image(64, 128, head=0)
        np.testing.assert_allclose(file["points_0"][0], np.stack([x, y], 1), atol=1e-3)
        assert file["boxes_0"].shape == (0, 4)


def test_a_figure_of_each_layer_and_its_resolution(street: Path) -> None:
    found = write("png", figure="layer")
    assert found.files == (
        "street_row20_CBAM.channel.png",
        "street_row20_CBAM.spatial.png",
        "street_row24_DAttention.png",
    )
    (small,) = (cv2.imread(f"maps/{name}") for name in found.files[2:])
    finer = write("png", figure="layer", dpi=200)
    large = cv2.imread(str(finer.folder / finer.files[2]))  # type: ignore[operator]
    assert large is not None and small is not None
    assert large.shape[0] == pytest.approx(2 * small.shape[0], abs=2)
    with pytest.raises(UserError, match="figure=row: use image or layer"):
        write("png", figure="row")


def test_a_figure_has_a_greatest_size(street: Path) -> None:
    with pytest.raises(UserError, match=r"^the figure of street.png would have \d+ x \d+ pixels; use dpi=") as error:
        write("npz,png", dpi=20000)
    width, height, fitting = map(int, re.findall(r"\d+", str(error.value)))
    size = (width / 20000, height / 20000)
    _check_size("street.png", size, fitting)
    with pytest.raises(UserError, match="or less, figure=layer, or fewer points"):
        _check_size("street.png", size, fitting + 1)


def test_models_with_other_images_are_an_error(street: Path) -> None:
    gray = DetectionModel(model_yaml("yolo11n-se.yaml"), ch=1, verbose=False)
    with pytest.raises(UserError, match=r"^the models take images of .* \(color: 3, gray: 1\); give them separately$"):
        yolo_attn.attention_maps({"color": "yolo11n-se.yaml", "gray": gray}, "street.png", imgsz=64)
    assert len(yolo_attn.attention_maps(gray, "street.png", imgsz=64).maps) == 3


def titles(maps: ImageMaps | list[ImageMaps], style: Style | None = None) -> list[str]:
    """Return the texts of a figure that are no numbers, in order."""
    svg = draw(maps, style, file_format="svg").decode()
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*[a-z][^<]*)</text>", svg)]


@pytest.mark.slow
def test_panels_of_queries(street: Path) -> None:
    torch.manual_seed(0)
    model = "yolo11n.yaml+MHSA[heads=4]@neck.P4+PAM@neck.P5"
    points = [(20, 30), (100, 40)]
    (maps,) = yolo_attn.attention_maps(model, "street.png", imgsz=128, point=points).image_maps
    queries = ["1: x=20, y=30", "2: x=100, y=40"]
    means = [text for row in ("row 20 MHSA (P4)", "row 24 PAM (P5)") for query in queries for text in (row, query)]
    assert titles(maps) == [*means, *["weight (1: uniform)"] * 2, "street.png"]
    heads = [text for text in titles(maps, Style(heads=True)) if "head" in text or "row" in text]
    every = ["mean of 4 heads", "head 0", "head 1", "head 2", "head 3"]
    assert heads == [
        *("row 20 MHSA (P4), x=20, y=30", *every, "row 20 MHSA (P4), x=100, y=40", *every),
        *("row 24 PAM (P5), x=20, y=30", "one head", "row 24 PAM (P5), x=100, y=40", "one head"),
    ]
    two = titles([replace(maps, model="a"), replace(maps, model="b")])
    assert two[:-1] == ["a", "b", "a", *means, "b", *means, *["weight (1: uniform)"] * 4]


def test_images_of_the_source_are_never_overwritten(street: Path) -> None:
    before = Path("street.png").read_bytes()
    with pytest.raises(UserError, match=r"street.png: a file of the source would be overwritten .* another name="):
        yolo_attn.attention_maps(MODEL, "street.png", folder=".", exist_ok=True, imgsz=64)
    assert Path("street.png").read_bytes() == before
    found = yolo_attn.attention_maps(MODEL, "street.png", folder=".", exist_ok=True, imgsz=64, save="npz")
    assert found.files == ("street.npz",)


def test_each_model_has_its_extent(street: Path) -> None:
    models = ["yolo11n-se.yaml", "yolov8n-p6.yaml"]  # the second one pads to multiples of 64
    cv2.imwrite("street.png", image(32, 128))
    yolo_attn.attention_maps(models, "street.png", folder="maps", imgsz=128, save="npz")
    with np.load("maps/street.npz") as file:
        assert file["extent_0"].tolist() == [-0.5, 127.5, 31.5, -0.5]
        assert file["extent_1"].tolist() == [-0.5, 127.5, 47.5, -16.5]


def test_the_page_finds_figures_with_any_name(street: Path) -> None:
    Path("street.png").rename("50% #1.png")
    yolo_attn.attention_maps("yolo11n-se.yaml", "50% #1.png", folder="maps", imgsz=64, save="html")
    page = Path("maps/index.html").read_text(encoding="utf-8")
    assert 'src="50%25%20%231.png" alt="50% #1.png"' in page


@pytest.mark.slow
def test_two_models_share_a_figure(street: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = "model=yolo11n.yaml,yolo11n-cbam.yaml"
    status, out, _ = run("maps", models, "source=street.png", "imgsz=64", "cam=True", capsys=capsys)
    assert status == 0
    assert [path.name for path in Path("runs/maps").iterdir()] == ["street.png"]
    assert "yolo11n-cbam: CBAM.spatial" in out
    found = yolo_attn.attention_maps(["yolo11n.yaml", "yolo11n-se.yaml"], "street.png", imgsz=64, cam=True, conf=0)
    base, variant = found.image_maps
    assert (base.model, variant.model, base.maps, len(variant.maps)) == ("yolo11n", "yolo11n-se", (), 3)
    assert base.detections and base.activation is not None and base.activation.shape == (32, 64, 3)


def test_without_detections_there_are_no_queries(street: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=yolo11n-mhsa.yaml", "source=street.png", "imgsz=64", "point=detections")
    assert run("maps", *words, "conf=1", capsys=capsys)[1] == (
        "no queries in 1 image without detections; lower conf=, or give x,y\n"
    )
    assert not Path("runs").exists()
    found = yolo_attn.attention_maps("yolo11n-mhsa.yaml", "street.png", imgsz=64, point="detections", conf=0)
    (maps,) = found.image_maps
    assert [each.query.label for each in found.queries[:8]] == [f"{d.label} {d.score:.2f}" for d in maps.detections[:8]]
    assert (found.queries[0].query.x, found.queries[0].query.y) == pytest.approx(
        np.subtract(maps.detections[0].center, 0.5), abs=1e-3
    )
    assert found.undetected == 0
    same = yolo_attn.attention_maps("yolo11n-mhsa.yaml", "street.png", imgsz=64, point="[detections]", conf=0)
    assert len(same.queries) == len(found.queries) > 0


def test_only_the_first_model_must_have_detections(street: Path) -> None:
    models = ["yolo11n-mhsa.yaml", "yolo11n-cls.yaml"]
    found = yolo_attn.attention_maps(models, "street.png", imgsz=64, point="detections", conf=0)
    assert {each.model for each in found.image_maps if each.detections} == {"yolo11n-mhsa"} and found.queries
    with pytest.raises(UserError, match="task is classify, which has no detections; give points"):
        yolo_attn.attention_maps(models[::-1], "street.png", imgsz=64, point="detections")


def test_queries_without_self_attention_and_heads_without_queries_are_named(street: Path) -> None:
    found = yolo_attn.attention_maps("yolo11n-se.yaml", "street.png", imgsz=64, point=(20, 30))
    assert "point= changes nothing: no layer has weights for each position" in str(found)
    assert "changes nothing" not in str(yolo_attn.attention_maps("yolo11n-se.yaml", "street.png", imgsz=64))
    with pytest.raises(UserError, match=r"^heads=True: .* add point=x,y or point=detections"):
        yolo_attn.attention_maps("yolo11n-pam.yaml", "street.png", imgsz=64, heads=True)


def test_html_without_gates_has_no_table(street: Path) -> None:
    found = yolo_attn.attention_maps("yolo11n.yaml+PAM@neck.P4", "street.png", imgsz=64)
    assert found.as_html().startswith("<div>no map: row 20 PAM: ") and "<th" not in found.as_html()


def test_points_may_be_an_array(street: Path) -> None:
    points = np.array([[20, 30], [100, 40]])
    found = yolo_attn.attention_maps("yolo11n-pam.yaml", "street.png", imgsz=64, point=points)  # type: ignore[arg-type]
    assert [(each.query.x, each.query.y) for each in found.queries[:2]] == [(20, 30), (100, 40)]


def frames_of(path: Path) -> tuple[list[np.ndarray], float]:
    """Return the frames of a video, and how many it shows a second."""
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    return frames, video.get(cv2.CAP_PROP_FPS)


@pytest.mark.slow
def test_a_video_gives_a_video(street: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(Path("clips/street.avi"), 5)
    Path("street.png").rename("clips/other.png")
    status, out, _ = run("maps", "model=yolo11n-cbam.yaml", "source=clips", "imgsz=64", capsys=capsys)
    assert status == 0 and out.splitlines()[-1].startswith("6 images in ")
    assert sorted(path.name for path in Path("runs/maps").iterdir()) == ["other.png", "street.mp4"]
    frames, rate = frames_of(Path("runs/maps/street.mp4"))
    assert len(frames) == 5 and rate == 10
    brightness = [frame[60:150, 40:200].mean() for frame in frames]  # of the image in the first panel
    assert np.all(np.diff(brightness) > 5)
    found = yolo_attn.attention_maps(
        "yolo11n.yaml+CBAM@neck.P4", "clips/street.avi", imgsz=64, folder="layers", vid_stride=2, figure="layer"
    )
    assert found.files == ("street_row20_CBAM.channel.mp4", "street_row20_CBAM.spatial.mp4")
    frames, rate = frames_of(Path("layers") / found.files[1])
    assert len(frames) == 3 and rate == 5


def test_videos_are_kept_if_the_command_is_interrupted(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(Path("clips/street.avi"), 5)

    def progress(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        yolo_attn.attention_maps("yolo11n-se.yaml", "clips", imgsz=64, folder="maps", progress=progress)
    assert [path.name for path in Path("maps").iterdir()] == ["street.mp4"]
    assert len(frames_of(Path("maps/street.mp4"))[0]) == 2


def test_videos_that_cannot_be_written(street: Path) -> None:
    with pytest.raises(UserError, match=r"^save=video: the source has no video; use save=png$"):
        write("png,video")
    make_video(Path("street.avi"), 2)
    with pytest.raises(UserError, match=r"^street.avi: a file of the source would be overwritten by its maps"):
        yolo_attn.attention_maps("yolo11n-se.yaml", "street.avi", folder=".", exist_ok=True, imgsz=64)
    assert len(frames_of(Path("street.avi"))[0]) == 2
    with (
        pytest.raises(UserError, match=r"OpenCV cannot write videos here; use save=png$"),
        pytest.MonkeyPatch().context() as patch,
    ):
        patch.setattr(video, "FORMATS", ((".mp4", "none"),))
        yolo_attn.attention_maps("yolo11n-se.yaml", "street.avi", folder="maps", imgsz=64)


def test_frames_of_different_sizes_fit_into_the_first_one(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "FORMATS", ((".mp4", "none"), (".avi", "MJPG")))  # the first one cannot be written
    figures = FigureVideo(Path("new/some.clip"), 7.5)
    for height, width in ((65, 101), (33, 50), (130, 200)):
        figures.add(np.full((height, width, 3), 50, np.uint8))
    assert figures.close() == Path("new/some.clip.avi")
    (first, smaller, larger), rate = frames_of(Path("new/some.clip.avi"))
    assert rate == 7.5 and {each.shape for each in (first, smaller, larger)} == {(64, 100, 3)}
    assert first.mean() == pytest.approx(50, abs=3)
    assert smaller[:30, :48].mean() == pytest.approx(50, abs=3) and smaller[40:].mean() > 250
    assert larger[:60, :90].mean() == pytest.approx(50, abs=3) and larger[:, 99:].mean() > 200
    assert [path.name for path in Path("new").iterdir()] == ["some.clip.avi"]


def test_a_video_that_is_not_complete_is_an_error(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV does not say that the disk is full."""
    Path("street.avi").write_bytes(b"an earlier video")
    monkeypatch.setattr(video, "FORMATS", ((".avi", "MJPG"),))
    figures = FigureVideo(Path("street"), 10)
    for _ in range(3):
        figures.add(np.full((64, 64, 3), 50, np.uint8))
    monkeypatch.setattr(video, "_frames_of", lambda path: 2)
    with pytest.raises(UserError, match=r"^street.avi: the video could not be written completely; is the disk full\?$"):
        figures.close()
    assert Path("street.avi").read_bytes() == b"an earlier video"
    assert [path.name for path in Path().iterdir()] == ["street.avi"]
    monkeypatch.undo()
    assert video._frames_of(Path("street.avi")) == 0


def test_frames_without_a_figure_keep_their_time(street: Path) -> None:
    """Self-attention has no map of a frame without detections."""
    shown = Shown("clip", "clip.avi", image(48, 64))
    make_video(Path("clip.avi"), 5)
    source = Frames(Path("clip.avi"), "clip", 1)
    with_maps = ImageMaps("clip.avi", shown.image, (gate_map(np.full((8, 8), 0.5, np.float32)),), ())
    without = replace(with_maps, maps=())
    writer = MapWriter(Path("maps"))
    for maps in (without, without, with_maps, without, with_maps):
        writer.write(shown, [maps], source)
    writer.close_videos()
    frames, _ = frames_of(Path("maps/clip.mp4"))
    assert len(frames) == 5
    alone = frames[3]
    assert alone[:40, :60].mean() < 200 and alone[60:].mean() > 250
    assert all(np.abs(frames[n].astype(int) - frames[2]).mean() < 8 for n in (0, 1, 4))


def test_frames_share_the_color_scales_of_the_first_one() -> None:
    dark, bright = (
        ImageMaps("", np.full((64, 64, 3), 90, np.uint8), (gate_map(np.full((8, 8), value, np.float32)),), ())
        for value in (0.2, 0.8)
    )
    scales: Scales = {}
    first = draw_frame([dark], Style(), scales)
    before = dict(scales)
    second = draw_frame([bright], Style(), scales)
    assert scales == before and len(scales) == 1
    assert np.abs(second[..., 2].astype(int) - first[..., 2]).max() > 100  # yellow and purple
    np.testing.assert_array_equal(draw_frame([dark], Style(), {}), first)


def test_figures_of_the_frames_of_a_video(street: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(Path("street.avi"), 12)
    words = ("model=yolo11n-se.yaml", "source=street.avi", "imgsz=64", "vid_stride=6", "save=png")
    status, out, _ = run("maps", *words, capsys=capsys)
    assert status == 0 and out.splitlines()[-1].startswith("2 images in ")
    assert sorted(path.name for path in Path("runs/maps").iterdir()) == ["street_000000.png", "street_000006.png"]


def test_a_model_without_attention_is_an_error_that_shows_what_place_would_do(street: Path) -> None:
    with pytest.raises(UserError) as error:
        yolo_attn.attention_maps("yolo11n.yaml", "street.png")
    command = "yolo-attn place model=yolo11n.yaml layer=CBAM at=neck out=mine.yaml"
    inserted = "row 17 (neck.P3), row 21 (neck.P4), row 25 (neck.P5)"
    assert f"no attention layers of yolo-attn, so there are no maps; {command} would insert CBAM as {inserted}" in str(
        error.value
    )
    rows = yolo_attn.place("yolo11n.yaml", "CBAM", "neck").rows()
    assert [row["row"] for row in rows] == [17, 21, 25]
