"""`yolo-attn enable-yolo` in a new environment; then only stock commands and scripts without `import yolo_attn`."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest
import ultralytics

from tests.conftest import SOURCE

pytestmark = pytest.mark.slow

DATA = ["data=digits", "fraction=0.05", "imgsz=64", "batch=8", "workers=0", "device=cpu", "plots=False"]
YOLO = "import sys; from ultralytics.cfg import entrypoint; sys.exit(entrypoint())"  # the script that pip makes
INTERRUPTED = """
from ultralytics import YOLO
def stop(trainer):
    raise SystemExit(0)
model = YOLO("yolo11n.yaml+SE[reduction=8]@neck")
model.add_callback("on_model_save", stop)
model.train(data="digits", fraction=0.05, epochs=2, imgsz=64, batch=8, workers=0, plots=False, name="cut", {project})
"""
SEARCH = """
from ultralytics import YOLO
YOLO("yolo11n-eca.yaml").tune(
    data="digits", fraction=0.05, epochs=1, iterations=1, imgsz=64, batch=8, workers=0, plots=False, {project}
)
"""


class Environment:
    """A virtual environment that reads the packages of this one, with this package installed and enabled."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=os.name != "nt")
        self.folder = folder
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.scripts / ("python.exe" if os.name == "nt" else "python")
        (packages,) = folder.rglob("site-packages")
        paths = dict.fromkeys([str(Path(ultralytics.__file__).parents[1]), *site.getsitepackages()])
        (packages / "packages.pth").write_text("\n".join(paths))
        self.pip("install", "--no-deps", SOURCE)
        self.run([self.scripts / "yolo-attn", "enable-yolo"])

    def pip(self, *words: str | Path) -> None:
        """Run pip on this environment, which has none."""
        self.run([sys.executable, "-m", "pip", "--python", self.python, "--quiet", *words])

    def run(self, command: Sequence[str | Path], **env: str) -> tuple[str, str]:
        """Run a command; return its output and its warnings."""
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        path = os.pathsep.join([str(self.scripts), os.environ.get("PATH", "")])
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env={**clean, "PATH": path, **env}, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout, done.stderr

    def yolo(self, *words: str | Path, **env: str) -> str:
        """Run the stock command; return its output and log."""
        where = [] if "export" in words else [f"project={self.folder / 'runs'}", "exist_ok=True"]
        return "".join(self.run([self.python, "-c", YOLO, *words, *where], **env))

    def script(self, code: str) -> str:
        """Run a script."""
        return "".join(self.run([self.python, "-c", code.format(project=f"project={str(self.folder / 'runs')!r}")]))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("stock") / "venv")


@pytest.fixture(scope="module")
def best(environment: Environment) -> Path:
    """The checkpoint of a training by the stock command."""
    out = environment.yolo("train", "model=yolo11n-cbam.yaml", *DATA, "epochs=1", "name=first")
    assert "yolo_attn.layers.hybrid.cbam.CBAM" in out
    assert str(environment.folder) in environment.run([environment.python, "-c", "import yolo_attn as y; print(y)"])[0]
    return environment.folder / "runs" / "first" / "weights" / "best.pt"


def test_val(environment: Environment, best: Path) -> None:
    assert re.search(r"^ +all +160 ", environment.yolo("val", f"model={best}", *DATA), re.MULTILINE)


def test_predict_with_restricted_loading(environment: Environment, best: Path) -> None:
    """From the first release that has it; earlier ones ignore the variable."""
    words = ("predict", f"model={best}", f"source={ultralytics.utils.ASSETS}", "imgsz=64", "save=False")
    assert "image 1/" in environment.yolo(*words, ULTRALYTICS_SAFE_LOAD="1")


def test_track(environment: Environment, best: Path) -> None:
    environment.pip("install", "--no-deps", "lap>=0.5.12")  # the tracker requires it
    words = ("track", f"model={best}", f"source={ultralytics.utils.ASSETS}", "imgsz=64", "save=False", "conf=0.0001")
    assert "image 1/" in environment.yolo(*words)


def test_export(environment: Environment, best: Path) -> None:
    environment.yolo("export", f"model={best}", "format=torchscript", "imgsz=64")
    assert best.with_suffix(".torchscript").exists()


def test_a_script_is_interrupted_and_the_command_resumes_it(environment: Environment) -> None:
    environment.script(INTERRUPTED)
    folder = environment.folder / "runs" / "cut"
    assert len((folder / "results.csv").read_text().splitlines()) == 2
    out = environment.yolo("train", "resume", f"model={folder / 'weights' / 'last.pt'}")
    assert "yolo_attn.layers.channel.se.SE" in out
    assert len((folder / "results.csv").read_text().splitlines()) == 3


def test_tune(environment: Environment) -> None:
    """The `yolo` command has no verb for it. The processes that it starts have the layers too."""
    environment.script(SEARCH)
    assert list((environment.folder / "runs").rglob("best_hyperparameters.yaml"))


def test_after_uninstalling_python_and_yolo_work_without_a_message(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.pip("uninstall", "--yes", "yolo-attn")
    assert list(environment.folder.rglob("yolo_attn_startup.pth"))
    for code in ("pass", "import ultralytics", "from ultralytics import YOLO; YOLO('yolo11n.yaml')"):
        assert environment.run([environment.python, "-c", code]) == ("", "")
