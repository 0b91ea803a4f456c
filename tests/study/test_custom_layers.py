"""Studies with custom layers: their source is copied to the runs, and unusable layers are errors before training."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.study.conftest import Fake
from yolo_attn import registry
from yolo_attn.errors import UserError
from yolo_attn.study import planning
from yolo_attn.study.running import ray as ray_runner
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.study import Study

LAYER = """
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate
from helpers import squeeze

@register_layer(family="channel", summary="scales each channel by its mean")
class MeanGate(Gate):
    def gate(self, x):
        return squeeze(x)
"""
HELPERS = "def squeeze(x):\n    return x.mean((2, 3), keepdim=True)\n"


def arm(name: str, kind: str = "variant") -> Arm:
    rows = [[-1, 1, "Conv", [8]], [-1, 1, "MeanGate" if name == "A" else "Conv", []]]
    return Arm(name, kind, {"name": name, "backbone": rows, "head": [[[0], 1, "Detect", [1]]]})


@pytest.fixture
def custom(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A study whose arm A has the layer of mine/my_layers.py."""

    def build(study: Study) -> list[Arm]:
        assert registry.is_layer("MeanGate"), "the file is imported before models are read"
        return [arm("yolo11n", "baseline"), *map(arm, study.variants)]

    monkeypatch.setattr(planning, "build_arms", build)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mine").mkdir()
    Path("mine/my_layers.py").write_text(LAYER)
    Path("mine/helpers.py").write_text(HELPERS)
    yield fake
    forget()


def forget() -> None:
    """Restore the state of a new process, which has not imported the layers."""
    for name in ("my_layers", "helpers"):
        sys.modules.pop(name, None)
    sys.path[:] = [path for path in sys.path if "mine" not in path and "layers" not in path]
    if registry.is_layer("MeanGate"):
        registry.unregister_layer("MeanGate")


def test_adding_to_a_study_names_its_stored_layers(custom: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    custom.compare(layers="mine/my_layers.py")
    forget()
    Path("more").mkdir()
    Path("more/more_layers.py").write_text(LAYER.replace("MeanGate", "MoreGate").replace("from helpers", "from more_h"))
    Path("more/more_h.py").write_text(HELPERS)

    def build(study: Study) -> list[Arm]:
        if not registry.is_layer("MeanGate"):
            raise UserError("unknown layer 'MeanGate'")
        return [arm("yolo11n", "baseline"), *map(arm, study.variants)]

    monkeypatch.setattr(planning, "build_arms", build)
    try:
        with pytest.raises(UserError, match=r"unknown layer 'MeanGate'; .*: give layers=") as caught:
            custom.compare(variants="C", layers="more/more_layers.py", exist_ok=True)
        advice = str(caught.value).rpartition("layers=")[2]
        assert custom.compare(variants="C", layers=advice, exist_ok=True).exit_status == 0
    finally:
        registry.unregister_layer("MoreGate")


def test_the_source_of_a_layer_is_copied_to_its_runs_and_to_the_study(custom: Fake) -> None:
    assert custom.compare(layers="mine/my_layers.py").exit_status == 0
    for run in custom.folder.glob("runs/*"):
        job = json.loads((run / "run.json").read_text())
        kept = {path.name: path.read_text() for path in (run / "layers").glob("*.py")}
        if job["arm"] == "A":
            assert kept == {"my_layers.py": LAYER, "helpers.py": HELPERS}
            assert job["modules"] == ["my_layers"]
        else:
            assert not kept
            assert "modules" not in job
    assert yaml.safe_load((custom.folder / "study.yaml").read_text())["layers"] == ["layers/my_layers.py"]
    stored = custom.stored()

    forget()
    Path("mine").rename("gone")
    assert custom.compare(layers=custom.folder / "layers" / "my_layers.py").exit_status == 0
    assert custom.stored() == stored
    assert len(custom.starts()) == 6


def test_layers_in_a_studys_folder_are_not_run_unasked(custom: Fake) -> None:
    """The folder can come from someone else."""
    custom.compare(layers="mine/my_layers.py")
    forget()
    (custom.folder / "layers" / "my_layers.py").write_text("open('ran', 'w')\n" + LAYER)
    message = r"Python files, which are not run unasked; add layers=\S*/layers/my_layers\.py$"
    with pytest.raises(UserError, match=message):
        custom.compare()
    with pytest.raises(UserError, match=message):
        custom.compare(study=custom.folder / "study.yaml")
    assert not Path("ran").exists()
    custom.compare(trust=True)
    assert Path("ran").exists()


def test_other_files_next_to_a_runs_layers_are_removed(custom: Fake) -> None:
    """They would be imported instead of installed modules."""
    custom.compare(layers="mine/my_layers.py", seeds=1)
    (run,) = custom.folder.glob("runs/A-s0-*")
    (run / "layers" / "numpy.py").write_text("")
    custom.compare(layers="mine/my_layers.py", seeds=1)
    assert {path.name for path in (run / "layers").iterdir()} == {"my_layers.py", "helpers.py"}


def test_the_layers_of_a_study_are_not_written_through_a_link(custom: Fake, tmp_path: Path) -> None:
    custom.compare(layers="mine/my_layers.py")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    kept = custom.folder / "layers"
    shutil.rmtree(kept)
    kept.symlink_to(elsewhere)
    custom.compare(layers="mine/my_layers.py")
    assert not list(elsewhere.iterdir())
    assert (kept / "my_layers.py").is_file() and not kept.is_symlink()


def test_an_edited_layer_trains_its_arms_again(custom: Fake) -> None:
    custom.compare(layers="mine/my_layers.py")
    Path("mine/helpers.py").write_text(HELPERS.replace("mean", "amax"))
    custom.compare(layers="mine/my_layers.py")
    assert custom.starts()[6:] == [("A", "0"), ("A", "1")]
    assert "2 earlier runs in the folder have other inputs" in custom.output()
    assert "amax" in (custom.folder / "layers" / "helpers.py").read_text()
    assert {("amax" in path.read_text()) for path in custom.folder.glob("runs/*/layers/helpers.py")} == {True, False}


def test_a_module_imported_by_a_script_is_copied_without_layers(custom: Fake) -> None:
    sys.path.insert(0, str(Path("mine").absolute()))
    import my_layers  # noqa: F401  (like a user's script before it compares)

    custom.compare()
    (run,) = custom.folder.glob("runs/A-s0-*")
    assert {path.name for path in (run / "layers").iterdir()} == {"my_layers.py", "helpers.py"}


@pytest.mark.parametrize("module", ["__main__", "cell_of_a_notebook"])
def test_a_layer_of_a_script_or_notebook_is_an_error_before_training(custom: Fake, module: str) -> None:
    sys.path.insert(0, str(Path("mine").absolute()))
    exec(LAYER, {"__name__": module})
    with pytest.raises(UserError, match=r"layer MeanGate is defined in .*give layers=FILE, or into a package") as error:
        custom.compare()
    assert "\n" not in str(error.value)
    assert not custom.folder.exists()
    assert not custom.starts()


def test_a_study_file_names_layers_next_to_it(custom: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"base": "yolo11n.yaml", "data": "digits", "variants": ["A"], "layers": "my_layers.py"}
    Path("mine/study.yaml").write_text(yaml.safe_dump(content))
    study = Study.from_arguments({"study": "mine/study.yaml"})
    assert (study.layers, study.layers_trusted) == (("mine/my_layers.py",), False)
    study = Study.from_arguments({"study": "mine/study.yaml", "layers": "other.py"})
    assert (study.layers, study.layers_trusted) == (("other.py",), True)
    Path("mine/study.yaml").write_text(yaml.safe_dump({**content, "layer": 3}))
    with pytest.raises(UserError, match="unknown key 'layer'; did you mean layers"):
        Study.from_arguments({"study": "mine/study.yaml"})


LISTS = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[1])
job = json.loads((folder / "run.json").read_text())
files = {path.name: path.read_text() for path in (folder / "layers").iterdir()}
(folder / "result.json").write_text(json.dumps({"status": "done", "modules": job["modules"], "files": files}))
"""


def test_a_cluster_node_receives_the_source_with_the_run(
    custom: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    custom.compare(layers="mine/my_layers.py")
    (run,) = custom.folder.glob("runs/A-s0-*")
    monkeypatch.setattr(ray_runner, "_node", lambda: "node")
    monkeypatch.setattr(ray_runner, "_scratch", lambda: tmp_path / "scratch")
    back = ray_runner.execute(ray_runner.files_of(run), 1, "digits", (sys.executable, "-c", LISTS), False)
    result: dict[str, Any] = json.loads(back.files["result.json"])
    assert result["modules"] == ["my_layers"]
    assert result["files"] == {"my_layers.py": LAYER, "helpers.py": HELPERS}
