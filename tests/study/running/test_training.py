"""The preparation of a training; real trainings are in test_real.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.study.conftest import make_job
from yolo_attn.study.running import training


class Started(Exception):
    """The training was started."""


@pytest.mark.parametrize("left", ["a damaged state", "no state"])
def test_output_of_an_attempt_without_a_state_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    class Model:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def add_callback(self, *_: object) -> None:
            pass

        def train(self, **_: object) -> None:
            raise Started

    monkeypatch.setattr(training, "load_yolo", Model)
    monkeypatch.setattr(training, "switch_off_integrations", lambda names: None)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "results.csv").write_text("epoch\n1\n2\n")
    if left == "a damaged state":
        (tmp_path / "state.pt").touch()
    with pytest.raises(Started):
        training.train_and_measure(tmp_path, make_job())
    assert list(tmp_path.iterdir()) == []
