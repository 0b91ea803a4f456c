"""Layers of a user's own, from files: `layers=my_layers.py` imports one, and `Sources` carries it to other processes.

A class is found again by the name of its module, so a file is imported under the name that Python gives it: `my_layers`
from any folder, `package.my_layers` inside a package. Whoever writes `import my_layers` means the same class, and so
does every checkpoint.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from yolo_attn.errors import UserError, one_line
from yolo_attn.registry import list_layers

__all__ = [
    "Sources",
    "can_be_found",
    "distribution_of",
    "import_carried",
    "load_layers",
    "loaded_files",
    "module_name",
    "module_of",
    "package_of",
    "sources_of",
    "split_files",
]

_SHARED = {"yolo_attn", "torch", "ultralytics", *sys.stdlib_module_names}  # every process of a study has these
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Sources:
    """The source of modules that register layers, to import them in another process or on another machine.

    Args:
        modules: Their full names.
        files: Contents by path below a folder of `sys.path`; the user's modules that they import are included.
    """

    modules: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of all contents; "" when there are none."""
        if not self.files:
            return ""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    @property
    def main_files(self) -> list[str]:
        """The paths of the modules' own files, which `layers=` takes."""
        stems = [module.replace(".", "/") for module in self.modules]
        return [name for stem in stems for name in (f"{stem}.py", f"{stem}/__init__.py") if name in self.files]

    def __or__(self, other: Sources) -> Sources:
        """Return both together, with the other's content of a file that is in both."""
        return Sources(tuple(dict.fromkeys([*self.modules, *other.modules])), {**self.files, **other.files})


def package_of(module: str) -> str:
    """Return the top-level package of a module's full name."""
    return module.partition(".")[0]


@functools.cache
def distribution_of(package: str) -> str:
    """Return name and version of the distribution whose entry points name a package, "" when none does."""
    for entry in entry_points(group="yolo_attn.layers"):
        if package_of(entry.module) == package and entry.dist:
            return f"{entry.dist.name} {entry.dist.version}"
    return ""


# --- from files to modules --------------------------------------------------------------------------------------


def split_files(value: object) -> tuple[str, ...]:
    """Return the files that `layers=` names: text with commas, a path, or a list of these.

    Raises:
        UserError: It names none, or is something else.
    """
    items = value.split(",") if isinstance(value, str) else [value] if isinstance(value, Path) else value
    if not isinstance(items, Iterable):
        raise UserError(f"layers={value}: give Python files, such as layers=my_layers.py")
    names = [str(item).strip() for item in items]
    if not all(names):
        raise UserError("layers= is empty or has an empty item; layers=my_layers.py is an example")
    return tuple(names)


_loaded: dict[str, str] = {}  # module -> hash of its sources when it was imported here


def load_layers(files: Iterable[str | Path]) -> list[str]:
    """Import files of layers and make their folders importable; a file that was edited since is imported again.

    Args:
        files: Python files that register layers.

    Returns:
        The full names of their modules.

    Raises:
        UserError: A file is missing, cannot be imported or registers no layer, or another module has its name.
    """
    return [_load(Path(file).expanduser()) for file in files]


def loaded_files() -> list[str]:
    """Return the files that `load_layers` imported in this process, for a command that needs them again."""
    return [str(sys.modules[module].__file__) for module in _loaded if module in sys.modules]


def _load(path: Path) -> str:
    module, root = module_of(path)
    if str(root) not in sys.path:
        sys.path.append(str(root))  # after all others, so that it does not shadow what is installed
    importlib.invalidate_caches()
    _refuse_other(path, package_of(module), root)
    if module in sys.modules and _loaded.get(module, _digest(module)) != _digest(module):
        _forget(module)
    try:
        importlib.import_module(module)
    except Exception as error:
        _forget(module)
        raise UserError(f"layers={path}: {_where(error, path)}{one_line(error)}") from error
    _loaded[module] = _digest(module)
    own = {module, *map(module_name, sources_of([module]).files)}
    if not any(spec.cls.__module__ in own for spec in list_layers()):
        raise UserError(f"layers={path}: registers no layer; write @yolo_attn.register_layer(...) above its class")
    return module


def _digest(module: str) -> str:
    return sources_of([module]).digest


def module_of(path: Path) -> tuple[str, Path]:
    """Return the full name of a file's module, and the folder that has to be on `sys.path`."""
    if not path.is_file():
        raise UserError(f"layers={path}: no such file (from the folder {Path.cwd()})")
    if path.suffix != ".py":
        raise UserError(f"layers={path}: not a Python file, such as my_layers.py")
    folder = path.resolve().parent
    parts = [] if path.name == "__init__.py" else [path.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    for part in parts:
        if not part.isidentifier():
            raise UserError(f"layers={path}: {part!r} cannot name a Python module; use letters, digits and underscores")
    return ".".join(parts), folder


def module_name(file: str) -> str:
    """Return the full name of the module in a file, whose path starts at a folder of `sys.path`."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _refuse_other(path: Path, top: str, root: Path) -> None:
    """Raise UserError when Python finds another module of this name."""
    found = _find(top)
    if top in _SHARED or (found and found not in (root / top, root / f"{top}.py") and not _is_copy(found, path)):
        where = f" ({found})" if found else ""
        raise UserError(f"layers={path}: another module is called {top!r} already{where}; rename the file")


def _is_copy(found: Path, path: Path) -> bool:
    return found.is_file() and found.read_bytes() == path.read_bytes()


def _forget(module: str) -> None:
    """Take a module and those of its owner that it imports out of what is imported."""
    names = {module, *map(module_name, sources_of([module]).files)}
    for name in names & sys.modules.keys():
        del sys.modules[name]


def _where(error: BaseException, path: Path) -> str:
    """Return the line of a file that led to an error, as "line 3: "; "" when its text or nothing tells."""
    trace, line = error.__traceback__, ""
    while trace is not None and not isinstance(error, SyntaxError):
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = f"line {trace.tb_lineno}: "
        trace = trace.tb_next
    return line


# --- from modules to files --------------------------------------------------------------------------------------


def sources_of(modules: Iterable[str]) -> Sources:
    """Return the files of modules, with the user's modules that they import, directly or not.

    What is installed is not carried: it is there in every process of a study.

    Args:
        modules: Full names of modules that can be imported here.
    """
    modules = tuple(dict.fromkeys(modules))
    files: dict[str, Path] = {}
    waiting = [package_of(module) for module in modules]
    for top in waiting:  # which grows
        found = _files_of(top)
        files |= found
        waiting += sorted({name for file in found.values() for name in _imports(file)} - {*waiting})
    return Sources(modules, {name: path.read_bytes() for name, path in sorted(files.items())})


def can_be_found(module: str) -> bool:
    """Whether another process can import a module: by its own means, or from the files that are carried to it."""
    return module != "__main__" and _find(package_of(module)) is not None


def _is_installed(top: str) -> bool:
    """Whether every process of a study finds a top-level module without help."""
    found = _find(top)
    return top in _SHARED or (found is not None and not _INSTALLED.isdisjoint(found.parts))


def _files_of(top: str) -> dict[str, Path]:
    """Return the files of a user's top-level module by their paths below a folder of `sys.path`."""
    found = None if _is_installed(top) or distribution_of(top) else _find(top)
    if found is None:
        return {}
    files = [found] if found.suffix == ".py" else sorted(found.rglob("*.py"))
    return {file.relative_to(found.parent).as_posix(): file for file in files}


def _find(top: str) -> Path | None:
    """Return the file of a top-level module, or the folder of a package; None for one without, or of another kind."""
    loaded = sys.modules.get(top)
    spec = getattr(loaded, "__spec__", None)
    if loaded is None:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(top)
    folders = list(getattr(spec, "submodule_search_locations", None) or [])
    file = getattr(loaded, "__file__", None) or getattr(spec, "origin", None)
    path = Path(folders[0]) if folders else Path(file) if file else None
    return path.resolve() if path is not None and path.exists() else None


def _imports(file: Path) -> frozenset[str]:
    state = file.stat()
    return _imports_of(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1024)
def _imports_of(file: Path, changed: int, size: int) -> frozenset[str]:
    """Return the top-level modules that a file imports, wherever in it; a relative import stays in its package."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError):
        return frozenset()  # importing it says what is wrong
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return frozenset(map(package_of, names))


def import_carried(folder: Path, modules: Sequence[str]) -> None:
    """Import modules whose files were carried into a folder, or which are installed.

    Raises:
        UserError: One of them cannot be imported.
    """
    if modules and folder.is_dir():
        sys.path.insert(0, str(folder))  # before the files that they were copied from, which may have changed
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UserError(f"layers: {module} cannot be imported here: {one_line(error)}") from error
