"""The host tests and a complete workflow with the oldest, a middle and the newest supported Ultralytics.

Each release is unpacked into its own folder, which is first on the path of a new pytest process.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import SOURCE

pytestmark = pytest.mark.slow

OLDEST, MIDDLE = "8.3.0", "8.3.200"
# Packages that only early releases import.
EARLY_PACKAGES = {
    "pandas": "pandas",
    "pytz": "pytz",
    "seaborn": "seaborn",
    "cpuinfo": "py-cpuinfo",
    "tqdm": "tqdm",
    "scipy": "scipy",
}
# Tests of our own graphs and files, which run with the oldest release only.
OURS = "all_models or linting or migration or hostile or blocks"
REPEATABLE = ("tests/host/test_repeatable.py", "-k", "cbam or last_epoch")
# The slow tests that run with a release besides the fast ones.
RELEASES = {
    f"ultralytics=={OLDEST}": [("tests/test_end_to_end.py",), REPEATABLE],
    f"ultralytics=={MIDDLE}": [REPEATABLE],
    "ultralytics>=8.3,<9": [],
}


def unpack(*packages: str, into: Path) -> Path:
    """Unpack packages without their dependencies."""
    if not into.exists():
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", into, *packages],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    return into


@pytest.fixture(scope="module")
def early_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [package for module, package in EARLY_PACKAGES.items() if importlib.util.find_spec(module) is None]
    folder = tmp_path_factory.mktemp("needs") / "site"
    return unpack(*missing, into=folder) if missing else folder


@pytest.mark.parametrize("release", RELEASES)
def test_release(release: str, early_packages: Path, tmp_path: Path) -> None:
    host = unpack(release, into=tmp_path / "site")
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (host, early_packages, SOURCE))),
        "YOLO_CONFIG_DIR": str(tmp_path / "settings"),
        "PYTEST_ADDOPTS": "",
    }
    env.pop("PYTEST_XDIST_WORKER", None)  # the child runs alone
    (tmp_path / "settings").mkdir()
    output = subprocess.run(
        [sys.executable, "-c", "import ultralytics; print(ultralytics.__file__, ultralytics.__version__)"],
        capture_output=True, text=True, env=env, check=True,
    ).stdout.split()  # fmt: skip
    assert output[-2].startswith(str(host))
    if release.startswith("ultralytics=="):
        assert output[-1] == release.partition("==")[2]
    if output[-1] == version("ultralytics"):
        pytest.skip("it is the installed one, with which all other tests run")
    run_pytest(env, "not slow", "tests/host", *(["-k", f"not ({OURS})"] if MIDDLE in release else []))
    run_pytest(env, "not slow", "tests/test_configs.py", "-k", "cbam")
    for tests in RELEASES[release]:
        run_pytest(env, "slow", *tests)


def run_pytest(env: dict[str, str], chosen: str, *files: str) -> None:
    """Run tests with the release that is first on the environment's path."""
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", chosen]
    command = [sys.executable, "-m", "pytest", *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=SOURCE, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
