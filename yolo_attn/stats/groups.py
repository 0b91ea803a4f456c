"""Groups of images that belong together, such as the frames of a video, and are therefore resampled together.

A bootstrap over images assumes that they are independent. Frames of one video are not: a detector that finds an object
in one finds it in the next. Intervals that take them as independent are far too narrow, so the bootstrap resamples
whole groups (a cluster bootstrap: Davison and Hinkley, "Bootstrap Methods and Their Application", 1997, section 3.8).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from posixpath import basename, dirname

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError, counted
from yolo_attn.system.patterns import find_all

__all__ = ["FOLDER", "check_groups", "compile_pattern", "find_sequences", "group_images"]

FOLDER = "folder"
"""The rule by which the images of a folder are a group."""

# The last number in a name is that of the frame. Roboflow appends the old suffix and a hash to names.
_FRAME = re.compile(r"(?P<sequence>.*?)(?P<number>\d{1,15})(?:_(?:jpe?g|png|bmp))?(?:\.rf\.\w+)?\.\w+")
_LEAST_FRAMES = 3  # of a sequence
_MOSTLY = 0.5

Ints = NDArray[np.intp]


def compile_pattern(rule: str) -> re.Pattern[str]:
    """Return the pattern of a rule other than `FOLDER`.

    Raises:
        UserError: It is not a valid regular expression.
    """
    try:
        return re.compile(rule)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(
            f"groups={rule}: neither {FOLDER} nor a valid regular expression ({error}); "
            r"groups=(video\d+)_ groups video1_001.jpg and video1_002.jpg"
        ) from None


def group_images(names: Sequence[str], rule: str | None) -> Ints:
    """Return the index of each image's group [N], from 0 in the order of their first images.

    Args:
        names: Names of the images, with slashes between folders.
        rule: `FOLDER`, or a regular expression. The group of an image is then what the expression's first parentheses,
            or without any the whole expression, match in the name of its file; an image without a match is a group of
            its own. None if every image is a group of its own.

    Raises:
        UserError: The rule is not a valid regular expression, or takes too long.
    """
    if rule is None:
        return np.arange(len(names))
    index: dict[object, int] = {}
    return np.array([index.setdefault(key, len(index)) for key in _keys(names, rule)], np.intp)


def _keys(names: Sequence[str], rule: str) -> list[object]:
    """Return what identifies the group of each image."""
    if rule == FOLDER:
        return [dirname(name) for name in names]
    return [number if found is None else found for number, found in enumerate(_matches(tuple(names), rule))]


@lru_cache(maxsize=8)
def _matches(names: tuple[str, ...], rule: str) -> list[str | None]:
    """Return what a rule other than `FOLDER` matches in the name of each image's file, computed once for all runs.

    Raises:
        UserError: The rule is invalid or takes too long, or the matching fails.
    """
    compile_pattern(rule)
    try:
        return find_all(rule, [basename(name) for name in names])
    except TimeoutError as error:
        raise UserError(
            f"groups={rule}: {error} for {counted(len(names), 'file name')}; give a simpler pattern, such as "
            r"(video\d+)_"
        ) from None
    except OSError as error:
        raise UserError(f"groups={rule}: {error}") from None


def check_groups(names: Sequence[str], rule: str, least: int) -> int:
    """Return the number of groups.

    Args:
        names: Names of the images.
        rule: As for `group_images`.
        least: Smallest number of groups for a verdict.

    Raises:
        UserError: The rule is invalid, matches no image, or leaves too few groups.
    """
    if rule != FOLDER and all(found is None for found in _matches(tuple(names), rule)):
        raise UserError(f"groups={rule}: matches none of {counted(len(names), 'file name')}, such as {names[0]}")
    found = len(set(_keys(names, rule)))
    if found < least:
        raise UserError(
            f"groups={rule}: the {counted(len(names), 'image')} are {counted(found, 'group')}, and a verdict needs at "
            f"least {least}; evaluate images of more groups, or give a pattern of smaller groups"
        )
    return found


def find_sequences(names: Sequence[str]) -> str | None:
    """Return the rule that groups images whose names look like frames of several videos; None if they do not.

    They do if most images have a name of the form `clip7_0042.jpg`, and if in most sequences of at least three such
    names the numbers follow each other at a constant distance. A single sequence is no evidence: many datasets number
    all of their images.

    Args:
        names: Names of the images, with slashes between folders.
    """
    sequences: dict[tuple[str, str], list[int]] = {}
    for name in names:
        match = _FRAME.fullmatch(basename(name))
        if match:
            sequences.setdefault((dirname(name), match["sequence"]), []).append(int(match["number"]))
    long = {key: sorted(numbers) for key, numbers in sequences.items() if len(numbers) >= _LEAST_FRAMES}
    frames = sum(len(numbers) for key, numbers in long.items() if _is_regular(numbers))
    if len(long) < 2 or frames < _MOSTLY * len(names):  # noqa: PLR2004 (several)
        return None
    prefixes = {sequence for _, sequence in long}
    if len(prefixes) < len(long):  # the folders distinguish them
        return FOLDER
    return r"(.*?)\d+_[a-z]+\.rf\." if any(".rf." in name for name in names) else r"(.*?)\d+\."


def _is_regular(numbers: Sequence[int]) -> bool:
    """Whether most of some sorted numbers follow each other at the same distance."""
    distances = Counter(int(distance) for distance in np.diff(numbers))
    return max(distances.values()) >= _MOSTLY * (len(numbers) - 1)
