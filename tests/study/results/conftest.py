"""Settings of the tests of results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from yolo_attn.stats import chance


@pytest.fixture(scope="module", autouse=True)
def _few_shuffled_images() -> Iterator[None]:
    """Test for learning on 16 images, as most of the time of these studies would be spent on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chance, "_IMAGES", 16)
        yield
