"""Settings of all tests: Ultralytics uses separate settings and datasets folders, to keep the user's unchanged."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HOME = Path(tempfile.gettempdir()) / f"yolo-attn-tests-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:  # concurrent writes could damage a shared settings file
    HOME = HOME / WORKER
    os.environ["YOLO_CONFIG_DIR"] = str(HOME)
HOME.mkdir(parents=True, exist_ok=True)
os.environ.setdefault("YOLO_CONFIG_DIR", str(HOME))
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("MPLCONFIGDIR", str(HOME / "matplotlib"))
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel, on small tensors
# Child processes do not compile the package again; the cache is not next to its sources.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(HOME / "pycache"))
# Child processes find the package even if it is not installed.
SOURCE = Path(__file__).resolve().parent.parent
os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(SOURCE), os.environ.get("PYTHONPATH", "")) if p)
# The tested package: that of the checkout, or the installed one if the tests are in a folder without it.
_spec = importlib.util.find_spec("yolo_attn")
assert _spec and _spec.origin, "yolo_attn is neither next to the tests nor installed"
PACKAGE = Path(_spec.origin).resolve().parent

import pytest  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _own_folders() -> None:
    """Set Ultralytics' datasets, weights and runs folders to the tests' folder."""
    from ultralytics.utils import SETTINGS

    SETTINGS.update(
        {"datasets_dir": str(HOME / "datasets"), "weights_dir": str(HOME / "weights"), "runs_dir": str(HOME / "runs")}
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests; at the end, the other workers would wait for the one that runs them."""
    items.sort(key=lambda item: item.path.name != "test_matrix.py")


def pytest_collection_finish() -> None:
    """Exclude tests and imported modules from garbage collection, on which a tenth of the time would be spent."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(autouse=True)
def _same_path() -> Iterator[None]:
    """Restore `sys.path`, because `layers=FILE` adds the file's folder, whose modules later tests would find."""
    before = [*sys.path]
    yield
    sys.path[:] = before


@pytest.fixture
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
