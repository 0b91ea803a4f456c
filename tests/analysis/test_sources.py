"""Images, folders and videos as sources."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_attn.analysis.sources import find_sources
from yolo_attn.errors import UserError

from .test_maps import image


def make_video(path: Path, frames: int, fps: int = 10) -> None:
    """Write a video whose frame n has the brightness 10 n."""
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for n in range(frames):
        writer.write(np.full((48, 64, 3), 10 * n, np.uint8))
    writer.release()


def test_a_folder_has_its_images_and_videos_in_order(fresh_folder: Path) -> None:
    for name in ("b.png", "a.jpg", "a.png", "notes.txt"):
        cv2.imwrite(name, image(8, 8)) if name != "notes.txt" else Path(name).write_text("x")
    make_video(Path("c.avi"), 3)
    sources = find_sources(".", every=2)
    assert [shown.stem for source in sources for shown in source.images(3)] == [
        *("a.jpg", "a.png", "b"),  # a.jpg and a.png would have the same figure
        *("c_000000", "c_000002"),
    ]
    assert [len(source) for source in sources] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("paths", "stems"),
    [
        (["val/cat/1.jpg", "val/dog/1.jpg", "val/dog/2.jpg"], ["cat_1.jpg", "dog_1.jpg", "2"]),
        (["a/b_c.jpg", "a_b/c.jpg", "c.jpg"], ["b_c", "a_b_c.jpg", "c.jpg"]),
        (["a/b_c.jpg", "a_b/c.jpg", "b_c.jpg", "c.jpg"], ["0_a_b_c.jpg", "1_a_b_c.jpg", "b_c.jpg", "c.jpg"]),
        (["a.avi", "a_000000.png", "a_1.png"], ["a.avi", "a_000000.png", "a_1"]),
        (["a.png", "a.jpg", "a.jpg.png"], ["a.png", "a.jpg", "a.jpg.png"]),
        (["A.png", "a.jpg"], ["A.png", "a.jpg"]),
        (["a.png", "a.png"], ["0_a.png", "1_a.png"]),
    ],
)  # fmt: skip
def test_files_of_different_images_have_different_names(paths: list[str], stems: list[str]) -> None:
    assert [source.stem for source in find_sources([Path(path) for path in paths])] == stems


def test_frames_of_a_video(fresh_folder: Path) -> None:
    make_video(Path("street.avi"), 25)
    (source,) = find_sources("street.avi", every=10)
    shown = list(source.images(3))
    assert [each.name for each in shown] == [f"street.avi, frame {n}" for n in (0, 10, 20)]
    assert [each.image.mean() for each in shown] == pytest.approx([0, 100, 200], abs=3)
    assert [each.image.shape for each in source.images(1)] == [(48, 64)] * 3
    (second,) = find_sources("street.avi")
    assert len(list(second.images(3))) == len(second) == 3  # one frame a second of ten


def test_a_video_that_cannot_be_read_is_an_error(fresh_folder: Path) -> None:
    Path("broken.mp4").write_bytes(b"no video" * 100)
    (source,) = find_sources("broken.mp4")
    with pytest.raises(UserError, match=r"broken.mp4: not a video that OpenCV can read"):
        list(source.images(3))


class Damaged:
    """A video of three frames, the second of which cannot be decoded, without a frame rate and a number of frames."""

    def __init__(self, path: str) -> None:
        self.next = 0

    def grab(self) -> bool:
        self.next += 1
        return self.next <= 3

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (False, None) if self.next == 2 else (True, image(8, 9))

    def get(self, name: int) -> float:
        return float("nan") if name == cv2.CAP_PROP_FPS else -1.0

    def release(self) -> None:
        pass


def test_damaged_frames_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch, fresh_folder: Path) -> None:
    Path("clip.mp4").touch()
    monkeypatch.setattr(cv2, "VideoCapture", Damaged)
    (source,) = find_sources("clip.mp4", every=1)
    shown = source.images(3)
    assert [next(shown).stem, next(shown).stem] == ["clip_000000", "clip_000002"]
    with pytest.raises(UserError, match=r"^clip.mp4: 1 damaged frame, the first is frame 1$"):
        next(shown)
    (source,) = find_sources("clip.mp4")  # one frame of thirty
    assert [each.stem for each in source.images(3)] == ["clip_000000"] and len(source) == 1


def test_an_array_is_an_image() -> None:
    (source,) = find_sources(image(8, 9))
    (shown,) = source.images(3)
    assert (shown.stem, shown.name, shown.image.shape) == ("image", "", (8, 9, 3))


def test_nothing_to_see_is_an_error(fresh_folder: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match="empty: no images in this folder"):
        find_sources("empty")
    cv2.imwrite("street.png", image(8, 8))
    with pytest.raises(UserError, match=r"source=stret.png: no such image, video or folder; did you mean street.png\?"):
        find_sources("stret.png")
