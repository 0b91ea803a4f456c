"""Import of the files that `layers=` names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from yolo_attn.errors import UserError, one_line
from yolo_attn.layer_files.sources import SHARED, find_module, module_name, package_of, sources_of
from yolo_attn.registry import LayerSpec, list_layers
from yolo_attn.system.files import expand_home

__all__ = ["import_copied", "load_layers", "loaded_files", "module_of", "split_files"]

_loaded: dict[str, str] = {}  # module -> hash of its sources at the time of its import


def split_files(value: object) -> tuple[str, ...]:
    """Return the files in a value of `layers=`.

    Args:
        value: Comma-separated text, a path, or a list of these.

    Raises:
        UserError: The value is empty or of another type.
    """
    items = value.split(",") if isinstance(value, str) else [value] if isinstance(value, Path) else value
    if not isinstance(items, Iterable):
        raise UserError(f"layers={value}: give Python files, such as layers=my_layers.py")
    names = [str(item).strip() for item in items]
    if not all(names):
        raise UserError("layers= is empty or has an empty item; example: layers=my_layers.py")
    return tuple(names)


def load_layers(files: Iterable[str | Path]) -> list[str]:
    """Import files of layers and make their folders importable. Edited files are imported again.

    Args:
        files: Python files that register layers.

    Returns:
        The full names of their modules.

    Raises:
        UserError: A file is missing, fails to import, registers no layer, or has the name of another module.
    """
    return [_load(expand_home(file)) for file in files]


def registered_by(modules: Sequence[str]) -> list[LayerSpec]:
    """Return the layers that modules, or the user's modules that they import, register."""
    own = {*modules, *map(module_name, sources_of(modules).files)}
    return [spec for spec in list_layers() if spec.cls.__module__ in own]


def loaded_files() -> list[str]:
    """Return the files that `load_layers` imported in this process."""
    return [str(sys.modules[module].__file__) for module in _loaded if module in sys.modules]


def module_of(path: Path) -> tuple[str, Path]:
    """Return the full module name of a file and the folder required on `sys.path`.

    Raises:
        UserError: The file does not exist or cannot be a Python module.
    """
    if not path.is_file():
        raise UserError(f"layers={path}: no such file (from the folder {Path.cwd()})")
    if path.suffix != ".py":
        raise UserError(f"layers={path}: not a Python file, such as my_layers.py")
    real = path.resolve()  # beside the modules that it imports
    folder = real.parent
    if "," in str(folder):  # other processes receive the files in one word
        raise UserError(
            f"layers={path}: the comma in {folder} would separate two files; move the file or rename the folder"
        )
    parts = [] if real.name == "__init__.py" else [real.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    for part in parts:
        if not part.isidentifier():
            raise UserError(f"layers={path}: {part!r} cannot name a Python module; use letters, digits and underscores")
    return ".".join(parts), folder


def import_copied(folder: Path, modules: Sequence[str]) -> None:
    """Import modules that are installed or whose files were copied into a folder.

    Raises:
        UserError: A module cannot be imported.
    """
    if modules and folder.is_dir():
        sys.path.insert(0, str(folder))  # before the originals, which may have changed
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UserError(f"layers: {module} cannot be imported here: {one_line(error)}") from error


def _load(path: Path) -> str:
    module, root = module_of(path)
    if str(root) not in sys.path:
        sys.path.append(str(root))  # last, to keep installed modules from being shadowed
    importlib.invalidate_caches()
    _check_unique(path, package_of(module), root)
    if module in sys.modules and _loaded.get(module, _digest(module)) != _digest(module):
        _unload(module)
    try:
        with _without_bytecode():
            importlib.import_module(module)
    except Exception as error:
        _unload(module)
        raise UserError(f"layers={path}: {_where(error, path)}{one_line(error)}") from error
    _loaded[module] = _digest(module)
    if not registered_by([module]):
        raise UserError(f"layers={path}: registers no layer; write @yolo_attn.register_layer(...) above its class")
    return module


@contextmanager
def _without_bytecode() -> Iterator[None]:
    """Import without writing compiled files, which are outdated if a file changes twice in a second at equal size."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _digest(module: str) -> str:
    return sources_of([module]).digest


def _check_unique(path: Path, top: str, root: Path) -> None:
    """Raise UserError if Python finds a different module of this name."""
    found = find_module(top)
    if top in SHARED or (found and found not in (root / top, root / f"{top}.py") and not _is_copy(found, path)):
        where = f" ({found})" if found else ""
        raise UserError(f"layers={path}: another module is already called {top!r}{where}; rename the file")


def _is_copy(found: Path, path: Path) -> bool:
    return found.is_file() and found.read_bytes() == path.read_bytes()


def _unload(module: str) -> None:
    """Remove a module, and the user's modules that it imports, from `sys.modules`."""
    names = {module, *map(module_name, sources_of([module]).files)}
    for name in names & sys.modules.keys():
        del sys.modules[name]


def _where(error: BaseException, path: Path) -> str:
    """Return the line of a file that led to an error, as "line 3: ".

    Return "" for a syntax error, whose message contains the line, and for an error from elsewhere.
    """
    trace, line = error.__traceback__, ""
    while trace is not None and not isinstance(error, SyntaxError):
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = f"line {trace.tb_lineno}: "
        trace = trace.tb_next
    return line
