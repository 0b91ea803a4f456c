"""Seals, which only this user's processes can compute."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from yolo_attn.security import seal


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultralytics.utils.USER_CONFIG_DIR", tmp_path)


def test_a_seal_covers_the_complete_content() -> None:
    mark = seal.seal(b"ab", b"c")
    assert seal.is_sealed(mark, b"ab", b"c")
    for other in ((b"a", b"bc"), (b"ab",), (b"ab", b"d"), (b"ab", b"c", b"")):
        assert not seal.is_sealed(mark, *other)
    for forged in (None, "", "é", "\ud800", 3, mark[:-1]):
        assert not seal.is_sealed(forged, b"ab", b"c")


def test_another_users_seals_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = seal.seal(b"x")
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("ultralytics.utils.USER_CONFIG_DIR", tmp_path / "other")
    assert not seal.is_sealed(mark, b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="no permission bits")
def test_the_key_is_stored_and_readable_only_by_the_user(tmp_path: Path) -> None:
    mark = seal.seal(b"x")
    seal._key_in.cache_clear()
    assert seal.is_sealed(mark, b"x")
    key = tmp_path / "yolo-attn.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [key]


def test_a_damaged_key_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "yolo-attn.key").write_bytes(b"short")
    mark = seal.seal(b"x")
    seal._key_in.cache_clear()
    assert seal.is_sealed(mark, b"x")


def test_without_a_stored_key_seals_are_valid_within_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ultralytics.utils.USER_CONFIG_DIR", tmp_path / "not" / "there")
    assert seal.is_sealed(seal.seal(b"x"), b"x")
    assert not list(tmp_path.iterdir())
