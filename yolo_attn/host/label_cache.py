"""Reading of Ultralytics' label caches as plain data.

A cache is a pickle in an .npy file, which can run any code when it is loaded. Here nothing that it names is imported or
called. The parts of numpy arrays are collected in classes of this module, from which the arrays are built.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CacheError", "read_cache"]

_NUMBERS = re.compile(r"[biuf](1|2|4|8)|[SU]\d{1,4}")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path")


class CacheError(AssertionError):
    """A file is not a label cache; Ultralytics, which asserts that a cache is current, rebuilds it."""


def read_cache(path: str | Path) -> dict[str, Any]:
    """Return the content of a label cache.

    Raises:
        FileNotFoundError: There is no such file.
        CacheError: It contains anything but labels.
    """
    with Path(path).open("rb") as stream, _without_collection():
        try:
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = header[np.lib.format.read_magic(stream)](stream)
            whole = _built(_Reader(stream).load())
            content = whole.item() if shape == () and dtype.hasobject else None
        except MemoryError:
            raise
        except Exception as error:  # damaged or malicious bytes may raise anything
            raise CacheError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise CacheError(f"{path}: it contains no labels")
    return content


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Disable garbage collection, which would scan millions of new objects repeatedly."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Dtype:
    """Parts of a pickled dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def __call__(self) -> Any:
        return _numbers(self.name, self.order)


@functools.lru_cache(maxsize=64)
def _numbers(name: str, order: str) -> Any:
    """Return a numpy dtype, or None for objects."""
    if name in ("O", "O8"):
        return None
    if not _NUMBERS.fullmatch(name):
        raise ValueError(f"numbers of type {name!r:.40}")
    return np.dtype(f"{order if order in ('<', '>') else '='}{name}")


class _Array:
    """Parts of a pickled array."""

    __slots__ = ("array", "state")

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()
        self.array: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def __call__(self) -> Any:
        if self.array is None:
            _, shape, dtype, by_columns, raw = self.state
            if not isinstance(dtype, _Dtype):
                raise ValueError("an array without a type")
            kind = dtype()
            if kind is None:
                self.array = np.empty(len(raw), dtype=object)
                self.array[:] = [_built(item) for item in raw]
                self.array = self.array.reshape(shape)
            else:
                numbers = np.frombuffer(raw, kind).reshape(shape, order="F" if by_columns else "C")
                self.array = numbers.astype(kind.newbyteorder("="))  # a copy, because the buffer is read-only
        return self.array


def _scalar(dtype: Any, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype())[0]


class _Named:
    """Replacement of a global in a pickle, which can be called but, unlike a class or function, not modified."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it modifies a global")


class _Reader(pickle.Unpickler):
    """Unpickler that accepts only the globals of a label cache and imports none."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a global of numpy or pathlib."""
        known: dict[str, Any] = {}
        if module in _NUMPY:
            known = {"_reconstruct": _Array, "scalar": _scalar}
        elif module == "numpy":
            known = {"ndarray": _Array, "dtype": _Dtype}
        elif module.partition(".")[0] == "pathlib" and name in _PATHS:
            known = {name: Path}
        if name not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _Named(known[name])

    def persistent_load(self, pid: Any) -> Any:
        """Refuse objects outside the pickle."""
        raise pickle.UnpicklingError("it refers to an object outside the file")


def _built(value: Any) -> Any:
    """Return a value with its arrays built from their parts."""
    kind = type(value)
    if kind is _Array:
        return value()
    if kind is dict:
        return {key: _built(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind([_built(item) for item in value])
    return value
