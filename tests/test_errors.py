"""Formatting of errors as one line."""

from __future__ import annotations

import pytest

from yolo_attn.errors import UserError, counted, first_line, one_line, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m\x1b[1mtrain: \x1b[0mno images", "train: no images"),
        ("1/20  0.5\r\x1b[K 2/20  0.4", "1/20 0.5 2/20 0.4"),
        ("\x9b1mbold\x9b0m", "bold"),
        ("\x1b]0;a title\x07text \x1b]8;;https://x\x1b\\link", "text link"),
        ("\x1b(Bplain\x1b[?25h and \x1b7cut \x1b[3", "plain and cut 3"),
        ("two\nlines\tand\x00a zero", "two lines and a zero"),
        ("[31m is no code, 注意力 [1, 2]", "[31m is no code, 注意力 [1, 2]"),
    ],
)
def test_plain_removes_escape_sequences(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_an_error_is_formatted_as_one_line_without_colors() -> None:
    assert one_line(ValueError("\x1b[34m\x1b[1mval: \x1b[0mit broke\nin two")) == "ValueError: val: it broke in two"
    assert one_line(UserError("\x1b[1mwrong\x1b[0m")) == "wrong"
    assert one_line(RuntimeError("\x1b[0m")) == "RuntimeError: no message"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("\n \x1b[31m\x1b[0m\n \x1b[1mbad value\x1b[0m \nmore"), "bad value"),
        (FileNotFoundError("❌️ no file\nlist of files"), "no file"),
        (RuntimeError(""), "RuntimeError"),
        (KeyError("key"), "'key'"),
    ],
)
def test_first_line_of_an_error(error: Exception, expected: str) -> None:
    assert first_line(error) == expected


def test_counts_have_the_right_noun() -> None:
    found = [counted(1, "run"), counted(1200, "run"), counted(2, "class", "classes"), counted(1, "class", "classes")]
    assert found == ["1 run", "1,200 runs", "2 classes", "1 class"]
