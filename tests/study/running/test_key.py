"""What the key of a run depends on; test_store.py changes each input."""

from __future__ import annotations

from importlib import metadata

import pytest

from yolo_attn.study.running import key


@pytest.mark.parametrize("name", ["albumentations", "albumentationsx"])
def test_albumentations_belongs_to_the_versions_where_it_is_installed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ultralytics augments images with it as soon as it can be imported."""

    def version(asked: str) -> str:
        if asked != name:
            raise metadata.PackageNotFoundError(asked)
        return "2.0"

    monkeypatch.setattr(key, "find_spec", lambda _: None)
    assert set(key.package_versions()) == {"yolo-attn", "ultralytics", "torch"}
    monkeypatch.setattr(key, "find_spec", lambda _: object())
    monkeypatch.setattr(metadata, "version", version)
    assert key.package_versions()[name] == "2.0"
