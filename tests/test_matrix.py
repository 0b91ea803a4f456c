"""The supported range: the host tests and a user's whole way, with the oldest, a middle and the newest Ultralytics.

Each release is unpacked into a folder of its own beside the installed one and put first on the path of a fresh pytest.
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
# What early releases import and later ones do not, without the large packages that both share.
EARLY_NEEDS = {
    "pandas": "pandas",
    "pytz": "pytz",
    "seaborn": "seaborn",
    "cpuinfo": "py-cpuinfo",
    "tqdm": "tqdm",
    "scipy": "scipy",
}
RELEASES = {
    f"ultralytics=={OLDEST}": ["tests/test_end_to_end.py", "tests/host/test_repeatable.py"],
    f"ultralytics=={MIDDLE}": ["tests/host/test_repeatable.py"],
    "ultralytics>=8.3,<9": [],
}


def unpack(*packages: str, into: Path) -> Path:
    """Unpack packages without what they need."""
    if not into.exists():
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", into, *packages],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    return into


@pytest.fixture(scope="module")
def early_needs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [package for module, package in EARLY_NEEDS.items() if importlib.util.find_spec(module) is None]
    folder = tmp_path_factory.mktemp("needs") / "site"
    return unpack(*missing, into=folder) if missing else folder


@pytest.mark.parametrize("release", RELEASES)
def test_release(release: str, early_needs: Path, tmp_path: Path) -> None:
    host = unpack(release, into=tmp_path / "site")
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (host, early_needs, SOURCE))),
        "YOLO_CONFIG_DIR": str(tmp_path / "settings"),
        "PYTEST_ADDOPTS": "",
    }
    env.pop("PYTEST_XDIST_WORKER", None)  # the child runs alone
    (tmp_path / "settings").mkdir()
    said = subprocess.run(
        [sys.executable, "-c", "import ultralytics; print(ultralytics.__file__, ultralytics.__version__)"],
        capture_output=True, text=True, env=env, check=True,
    ).stdout.split()  # fmt: skip
    assert said[-2].startswith(str(host))
    if release.startswith("ultralytics=="):
        assert said[-1] == release.partition("==")[2]
    if said[-1] == version("ultralytics"):
        pytest.skip("it is the installed one, with which all other tests run")
    run_pytest(env, "not slow", "tests/host")
    run_pytest(env, "not slow", "tests/test_configs.py", "-k", "cbam")
    if RELEASES[release]:
        run_pytest(env, "slow", *RELEASES[release])


def run_pytest(env: dict[str, str], chosen: str, *files: str) -> None:
    """Run tests against the release that the environment puts first."""
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", chosen]
    command = [sys.executable, "-m", "pytest", *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=SOURCE, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
