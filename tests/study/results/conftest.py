"""Settings of the tests of results."""

from __future__ import annotations

import pytest

from yolo_attn.stats import chance


@pytest.fixture(autouse=True)
def _few_shuffled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test for learning on 16 images, as most of the time of these studies would be spent on it."""
    monkeypatch.setattr(chance, "_IMAGES", 16)
