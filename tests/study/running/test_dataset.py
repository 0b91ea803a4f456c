"""The dataset of a study."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from yolo_attn.errors import UserError
from yolo_attn.study.running.dataset import read_dataset


def test_a_missing_dataset_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    present = [False]
    monkeypatch.setattr(
        "yolo_attn.data.check_data",
        lambda *_, **__: SimpleNamespace(
            data="coco8", present=present[0], digest="of the images" if present[0] else "", names={}, splits={}
        ),
    )
    monkeypatch.setattr("ultralytics.data.utils.check_det_dataset", lambda data: present.__setitem__(0, True))
    assert read_dataset("coco8.yaml", "detect").digest == "of the images"

    def offline(data: str) -> None:
        raise ConnectionError("no\nnetwork")

    present[0] = False
    monkeypatch.setattr("ultralytics.data.utils.check_det_dataset", offline)
    with pytest.raises(UserError, match="no network"):
        read_dataset("coco8.yaml", "detect")
