"""Source files of modules that register layers, collected for other processes and machines."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from yolo_attn.system.files import file_hash

__all__ = [
    "SHARED",
    "Sources",
    "can_be_found",
    "code_of",
    "custom_modules",
    "distribution_of",
    "find_module",
    "module_name",
    "package_of",
    "sources_of",
]

SHARED = frozenset({"yolo_attn", "torch", "ultralytics", *sys.stdlib_module_names})
"""Top-level modules that every process of a study has."""

_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Sources:
    """Source files of modules that register layers.

    Args:
        modules: Full names of the modules.
        files: Contents by path relative to a folder of `sys.path`, including the user's modules that they import.
    """

    modules: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of all contents, or "" without files."""
        if not self.files:
            return ""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    @property
    def main_files(self) -> list[str]:
        """Paths of the modules' own files, in the form that `layers=` takes."""
        stems = [module.replace(".", "/") for module in self.modules]
        return [name for stem in stems for name in (f"{stem}.py", f"{stem}/__init__.py") if name in self.files]

    def __or__(self, other: Sources) -> Sources:
        """Return the union; the other's content wins for a file that is in both."""
        return Sources(tuple(dict.fromkeys([*self.modules, *other.modules])), {**self.files, **other.files})


def package_of(module: str) -> str:
    """Return the top-level package in a module's full name."""
    return module.partition(".")[0]


def module_name(file: str) -> str:
    """Return the full name of the module in a file.

    Args:
        file: Path relative to a folder of `sys.path`.
    """
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@functools.cache
def distribution_of(package: str) -> str:
    """Return name and version of the distribution with an entry point in a package, or "" without one."""
    for entry in entry_points(group="yolo_attn.layers"):
        if package_of(entry.module) == package and entry.dist:
            return f"{entry.dist.name} {entry.dist.version}"
    return ""


def sources_of(modules: Iterable[str]) -> Sources:
    """Return the files of modules and of the user's modules that they import, directly or not.

    Installed modules are skipped because every process of a study has them.

    Args:
        modules: Full names of modules that are importable here.
    """
    modules = tuple(dict.fromkeys(modules))
    files: dict[str, Path] = {}
    waiting = [package_of(module) for module in modules]
    for top in waiting:  # grows in the loop
        found = _files_of(top)
        files |= found
        waiting += sorted({name for file in found.values() for name in _imports(file)} - {*waiting})
    return Sources(modules, {name: path.read_bytes() for name, path in sorted(files.items())})


def custom_modules(cls: type) -> list[str]:
    """Return the modules of a class and its bases, the class's first, except those that every installation has."""
    modules = dict.fromkeys(base.__module__ for base in cls.__mro__)
    return [module for module in modules if module == "__main__" or package_of(module) not in SHARED]


def code_of(cls: type) -> dict[str, str]:
    """Return what identifies the code of a custom layer, as far as it can be found.

    Args:
        cls: The layer's class.

    Returns:
        `source`, the hashes of the files with the class and its bases; `package`, name and version of the distribution
        that contains it, if any.
    """
    hashes, modules = [], sorted(custom_modules(cls))
    for module in modules:
        file = getattr(sys.modules.get(module), "__file__", None)
        if file and Path(file).is_file():
            hashes.append(file_hash(Path(file)))
    imported = sources_of(modules).digest  # includes the helper modules that they import
    package = distribution_of(package_of(cls.__module__))
    return {"source": " ".join([*hashes, *filter(None, [imported])]), **({"package": package} if package else {})}


def can_be_found(module: str) -> bool:
    """Return True if another process can import a module, either by itself or from copied files."""
    return module != "__main__" and find_module(package_of(module)) is not None


def find_module(top: str) -> Path | None:
    """Return the file of a top-level module or the folder of a package, or None for built-in and missing modules."""
    loaded = sys.modules.get(top)
    spec = getattr(loaded, "__spec__", None)
    if loaded is None:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(top)
    folders = list(getattr(spec, "submodule_search_locations", None) or [])
    file = getattr(loaded, "__file__", None) or getattr(spec, "origin", None)
    path = Path(folders[0]) if folders else Path(file) if file else None
    return path.resolve() if path is not None and path.exists() else None


def _is_installed(top: str) -> bool:
    """Return True if every process of a study finds a top-level module by itself."""
    found = find_module(top)
    return top in SHARED or (found is not None and not _INSTALLED.isdisjoint(found.parts))


def _files_of(top: str) -> dict[str, Path]:
    """Return the files of a user's top-level module by their paths relative to a folder of `sys.path`."""
    found = None if _is_installed(top) or distribution_of(top) else find_module(top)
    if found is None:
        return {}
    files = [found] if found.suffix == ".py" else sorted(found.rglob("*.py"))
    return {file.relative_to(found.parent).as_posix(): file for file in files}


def _imports(file: Path) -> frozenset[str]:
    state = file.stat()
    return _imports_of(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1024)
def _imports_of(file: Path, changed: int, size: int) -> frozenset[str]:
    """Return the top-level modules that a file imports at any level of nesting, without relative imports."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError):
        return frozenset()  # the import of the file reports the error
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return frozenset(map(package_of, names))
