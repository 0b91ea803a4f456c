"""The start-up file of `yolo-attn enable-yolo`, in environments with small packages named ultralytics and yolo_attn.

`tests/test_stock_yolo.py` uses the real ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from yolo_attn.host.import_hook import NAME
from yolo_attn.host.startup_file import startup_text

ULTRALYTICS = {
    "ultralytics/__init__.py": "from ultralytics import utils\n",
    "ultralytics/utils.py": "class Settings: pass\n",
    "ultralytics/nn/__init__.py": "",
    "ultralytics/nn/tasks.py": "LAYERS = []\n",
    "ultralytics-8.dist-info/METADATA": "Name: ultralytics\nVersion: 8\n",
}
YOLO_ATTN = {"yolo_attn/__init__.py": "from ultralytics.nn import tasks\ntasks.LAYERS.append('CBAM')\n"}
SHOW = "from ultralytics.nn import tasks; print(tasks.LAYERS)"


class Environment:
    """A virtual environment with packages in its site-packages.

    Args:
        folder: A folder that does not exist.
        files: The text of the files in its site-packages, by relative path.
        outer: An environment whose site-packages it reads too.
    """

    def __init__(self, folder: Path, files: Mapping[str, str], outer: Environment | None = None) -> None:
        venv.create(folder, symlinks=os.name != "nt")
        scripts, executable = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
        self.folder, self.python = folder, folder / scripts / executable
        (self.site,) = folder.rglob("site-packages")
        self.write(files)
        if outer is not None:  # as for the system's site-packages
            self.write({"zz_outer.pth": f"import site; site.addsitedir({str(outer.site)!r})\n"})

    def write(self, files: Mapping[str, str]) -> None:
        """Write files to its site-packages."""
        for name, text in files.items():
            path = self.site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, code: str, *flags: str, **env: str) -> tuple[str, str]:
        """Run code in a new process; return what it prints and its warnings."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [self.python, *flags, "-c", code],
            capture_output=True,
            text=True,
            env=clean | env,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def enabled(tmp_path: Path) -> Environment:
    """An environment with both packages and the start-up file."""
    return Environment(tmp_path / "venv", {**ULTRALYTICS, **YOLO_ATTN, NAME: startup_text()})


def test_a_program_that_does_not_import_ultralytics_is_not_affected(enabled: Environment) -> None:
    code = (
        "import json, sys; print(sorted({'ultralytics', 'yolo_attn', 'typing', 'importlib.util'} & set(sys.modules)))"
    )
    before = Environment(enabled.site / "plain", {}).run(code)
    assert enabled.run(code) == before == ("[]", "")


@pytest.mark.parametrize(
    "code",
    [
        "import ultralytics; " + SHOW,
        SHOW,
        "from ultralytics.utils import Settings; " + SHOW,
        "import yolo_attn; " + SHOW,
        "import yolo_attn, ultralytics, yolo_attn; " + SHOW,
        "import importlib.util; importlib.util.find_spec('ultralytics'); " + SHOW,
        "import importlib, ultralytics; importlib.reload(ultralytics); " + SHOW,
    ],
)
def test_layers_are_registered_once(enabled: Environment, code: str) -> None:
    assert enabled.run(code) == ("['CBAM']", "")


def test_layers_are_registered_before_a_submodule_is_imported(enabled: Environment) -> None:
    enabled.write({"ultralytics/cfg.py": "import sys\nprint('yolo_attn' in sys.modules)\n"})
    assert enabled.run("from ultralytics.cfg import sys") == ("True", "")


@pytest.mark.parametrize("flags", [("-I",), ("-E",), ("-s",), ("-O",), ("-W", "error"), ("-X", "dev")])
def test_flags_of_python(enabled: Environment, flags: tuple[str, ...]) -> None:
    assert enabled.run(SHOW, *flags) == ("['CBAM']", "")


def test_without_site_nothing_is_registered(enabled: Environment) -> None:
    code = f"import sys; sys.path.append({str(enabled.site)!r}); {SHOW}"
    assert enabled.run(code, "-S") == ("[]", "")


def test_modules_and_processes(enabled: Environment, tmp_path: Path) -> None:
    """`python -m`, and a process that multiprocessing spawns."""
    enabled.write({"ultralytics/nn/run.py": SHOW})
    script = tmp_path / "main.py"
    script.write_text(
        "import multiprocessing, runpy\n"
        "def show():\n"
        "    from ultralytics.nn import tasks\n"
        "    assert tasks.LAYERS == ['CBAM']\n"
        "if __name__ == '__main__':\n"
        "    runpy.run_module('ultralytics.nn.run', run_name='__main__')\n"
        "    process = multiprocessing.get_context('spawn').Process(target=show)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    print(process.exitcode)\n"
    )
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    assert enabled.run(code)[0].split("\n") == ["['CBAM']", "0"]


def test_spec_and_loader_are_those_of_python(enabled: Environment) -> None:
    code = """
import copy, importlib.metadata, importlib.resources, importlib.util, inspect, pickle, pkgutil, sys
found = importlib.util.find_spec("ultralytics")
assert found.loader.get_filename("ultralytics") == found.origin and found.loader.is_package("ultralytics")
assert copy.copy(found.loader).get_source("ultralytics")
assert "yolo_attn" not in sys.modules
import ultralytics
stock = importlib.machinery.PathFinder.find_spec("ultralytics")
assert ultralytics.__spec__ == stock and ultralytics.__spec__.loader is ultralytics.__loader__
assert type(ultralytics.__loader__) is type(stock.loader)
assert importlib.util.find_spec("ultralytics") is ultralytics.__spec__
assert importlib.reload(ultralytics) is ultralytics and type(ultralytics.__loader__) is type(stock.loader)
assert "import utils" in inspect.getsource(ultralytics)
assert importlib.resources.files("ultralytics").joinpath("nn").is_dir() and pkgutil.get_data("ultralytics", "utils.py")
assert importlib.metadata.version("ultralytics") == "8"
assert type(pickle.loads(pickle.dumps(ultralytics.utils.Settings()))) is ultralytics.utils.Settings
"""
    assert enabled.run(code) == ("", "")


def test_lazy_loader(enabled: Environment) -> None:
    code = """
import importlib.util, sys
spec = importlib.util.find_spec("ultralytics")
spec.loader = importlib.util.LazyLoader(spec.loader)
module = sys.modules["ultralytics"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert "yolo_attn" not in sys.modules
module.utils
assert "yolo_attn" in sys.modules
"""
    assert enabled.run(code + SHOW) == ("['CBAM']", "")


def test_other_finders(enabled: Environment) -> None:
    """One without `find_spec`, and one that asks all finders again, as hooks of tracers do."""
    code = """
import importlib.util, sys
class Asking:
    busy = False
    def find_spec(self, name, path=None, target=None):
        if self.busy: return None
        self.busy = True
        try: return importlib.util.find_spec(name)
        finally: self.busy = False
class Old:
    def find_module(self, name, path=None): pass
sys.meta_path.insert(POSITION, Old())
sys.meta_path.insert(POSITION, Asking())
import ultralytics
"""
    for position in ("0", "1"):
        assert enabled.run(code.replace("POSITION", position) + SHOW) == ("['CBAM']", "")


def test_threads_wait_for_the_registration(enabled: Environment) -> None:
    enabled.write({"yolo_attn/__init__.py": f"import time\ntime.sleep(0.2)\n{YOLO_ATTN['yolo_attn/__init__.py']}"})
    code = """
import threading
def work(first):
    exec(first)
    from ultralytics.nn import tasks
    print(tasks.LAYERS)
firsts = ["import ultralytics", "from ultralytics import utils"] * 4
threads = [threading.Thread(target=work, args=(first,)) for first in firsts]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    assert enabled.run(code) == ("\n".join(["['CBAM']"] * 8), "")


def test_ultralytics_in_an_archive(enabled: Environment, tmp_path: Path) -> None:
    archive = tmp_path / "host.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for name, text in ULTRALYTICS.items():
            stream.writestr(name, text)
    code = f"import sys; sys.path.insert(0, {str(archive)!r}); import ultralytics; print(ultralytics.__file__); {SHOW}"
    out, warnings = enabled.run(code)
    assert (out.splitlines()[1], warnings) == ("['CBAM']", "")
    assert out.startswith(str(archive))


def test_a_folder_without_code_is_not_ultralytics(enabled: Environment, tmp_path: Path) -> None:
    """Such as a clone of its repository in the working folder of a program that does not use it."""
    (tmp_path / "clone" / "ultralytics").mkdir(parents=True)
    (enabled.site / "ultralytics" / "__init__.py").unlink()
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'clone')!r}); import ultralytics; "
    assert enabled.run(code + "print('yolo_attn' in sys.modules)") == ("False", "")


def test_without_ultralytics(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", {**YOLO_ATTN, NAME: startup_text()})
    code = "try: import ultralytics\nexcept ModuleNotFoundError as error: print(error)"
    assert environment.run(code) == ("No module named 'ultralytics'", "")


def test_an_error_of_ultralytics_is_its_own(enabled: Environment) -> None:
    enabled.write({"ultralytics/__init__.py": "import os\nif 'FAIL' in os.environ: raise OSError('no settings')\n"})
    code = """
import os, sys
os.environ["FAIL"] = "1"
try: import ultralytics
except OSError as error: print(error, "yolo_attn" in sys.modules)
del os.environ["FAIL"]
"""
    assert enabled.run(code + SHOW) == ("no settings False\n['CBAM']", "")


def test_after_yolo_attn_is_uninstalled_nothing_is_printed(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", {**ULTRALYTICS, NAME: startup_text()})
    assert environment.run("pass") == ("", "")
    assert environment.run(SHOW) == ("[]", "")
    (environment.site / "yolo_attn" / "__pycache__").mkdir(parents=True)  # what pip may leave
    assert environment.run(SHOW) == ("[]", "")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import missing", "ModuleNotFoundError: No module named 'missing'"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_a_broken_yolo_attn_is_one_warning(enabled: Environment, source: str, reason: str) -> None:
    enabled.write({"yolo_attn/__init__.py": source})
    assert enabled.run("pass") == ("", "")
    out, warning = enabled.run(SHOW)
    assert out == "[]"
    assert warning.startswith(f"yolo-attn: the attention layers are not registered ({reason}")
    assert warning.endswith(f"remove {NAME} from site-packages")
    assert "\n" not in warning
    assert enabled.run(f"import sys; sys.stderr = None; {SHOW}") == ("[]", "")


def test_interrupting_the_registration_stops_the_program(enabled: Environment) -> None:
    enabled.write({"yolo_attn/__init__.py": "raise KeyboardInterrupt"})
    code = "try: import ultralytics\nexcept KeyboardInterrupt: print('stopped')"
    assert enabled.run(code) == ("stopped", "")


def test_environments_in_each_other_register_once(enabled: Environment, tmp_path: Path) -> None:
    """Both have a start-up file, the outer one of another version; the package is the inner one."""
    count = "import sys; print(len([f for f in sys.meta_path if hasattr(f, 'registers')])); "
    inner = Environment(tmp_path / "inner", YOLO_ATTN, outer=enabled)
    assert inner.run(count + SHOW) == ("1\n['CBAM']", "")
    enabled.write({NAME: startup_text().replace("registers = ", "older = 1; registers = ", 1)})
    inner.write({NAME: startup_text()})
    assert inner.run("import sys; print(hasattr(sys.meta_path[0], 'older')); " + count + SHOW) == (
        "False\n1\n['CBAM']",
        "",
    )
    (inner.site / NAME).unlink()
    assert inner.run("import sys; print(hasattr(sys.meta_path[0], 'older')); " + count + SHOW) == (
        "True\n1\n['CBAM']",
        "",
    )
    (enabled.site / NAME).unlink()
    assert inner.run(count + SHOW) == ("0\n[]", "")


def test_the_code_runs_in_the_interpreter_of_the_tests() -> None:
    """The line is valid for `site`: one line that begins with `import`, after a comment."""
    comment, line, end = startup_text().split("\n")
    assert comment.startswith("# ")
    assert line.startswith("import ")
    assert end == ""
    assert startup_text().isascii()
    count = len(sys.meta_path)
    scope: dict[str, object] = {}
    exec(line, scope)
    try:
        assert len(sys.meta_path) in (count, count + 1)
    finally:
        sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "yolo_attn_startup"]
