"""Custom layers in a notebook, in a script, and in a file next to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.helpers import python
from yolo_attn.data.digits import make_digits

CELL = """
import yolo_attn
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate


@register_layer(family="channel", summary="scales each channel by its mean")
class MeanGate(Gate):
    factor = {factor}

    def gate(self, x):
        return self.factor * x.mean((2, 3), keepdim=True).sigmoid()
"""
NOTEBOOK = """
import sys, types
kernel = sys.modules["__main__"] = types.ModuleType("__main__")  # without a file, as in a notebook
run_cell = lambda source: exec(source, vars(kernel))
run_cell(sys.argv[1])
run_cell(sys.argv[2])
run_cell('''
from ultralytics import YOLO
gate = YOLO("yolo11n.yaml+MeanGate@neck", verbose=False).model.model[17]
assert type(gate) is MeanGate and gate.factor == 2, gate
for compare in range(2):
    try:
        yolo_attn.compare(variants=["SE@neck", "MeanGate@neck"], data="coco", epochs=1, device="cpu")
    except yolo_attn.UserError as error:
        print(error)
''')
"""


@pytest.mark.slow
def test_a_cell_runs_again_and_compare_refuses_its_layer_before_training(fresh_folder: Path) -> None:
    out = python(NOTEBOOK, CELL.format(factor=1), CELL.format(factor=2), cwd=fresh_folder).stdout
    assert out.splitlines() == 2 * [
        "layer MeanGate is defined in a script or notebook (__main__), which the processes that train cannot import; "
        "put its class into a file and give layers=FILE, or into a package with an entry point in yolo_attn.layers"
    ]
    assert list(fresh_folder.iterdir()) == []


@pytest.mark.slow
def test_multi_gpu_training_refuses_a_layer_of_the_script(fresh_folder: Path) -> None:
    code = (
        CELL.format(factor=1)
        + """
from types import SimpleNamespace
from ultralytics import YOLO
from ultralytics.utils import dist
trainer = SimpleNamespace(model=YOLO("yolo11n.yaml+MeanGate@neck", verbose=False).model)
try:
    dist.generate_ddp_file(trainer)
except yolo_attn.UserError as error:
    print(error)
"""
    )
    assert python(code, cwd=fresh_folder).stdout.startswith(
        "layer MeanGate is defined in a script or notebook (__main__), which the processes of multi-GPU training cannot"
    )


COMPARE = """
if __name__ == "__main__":
    import sys
    results = yolo_attn.compare(base="yolo11n.yaml", variants=["MeanGate@neck"], data=sys.argv[1], seeds=1, epochs=1,
        imgsz=32, batch=4, threads=1, device="cpu", project=sys.argv[2], name="own", val=False{more})
    sys.exit(results.exit_status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["the script names itself", "the script imports it", "the command names it"])
def test_a_study_trains_a_layer_of_a_file(tmp_path: Path, where: str) -> None:
    data = make_digits(tmp_path / "data", counts={"train": 8, "val": 4, "test": 4})
    code, elsewhere = tmp_path / "code", tmp_path / "elsewhere"
    code.mkdir()
    elsewhere.mkdir()
    (code / "own_gates.py").write_text(CELL.format(factor=1))
    script, project = code / "study.py", tmp_path / "studies"
    if where == "the script names itself":
        script.write_text(CELL.format(factor=1) + COMPARE.format(more=", layers=__file__"))
    elif where == "the script imports it":
        script.write_text("import own_gates, yolo_attn\n" + COMPARE.format(more=""))
    else:
        script.write_text(
            "import sys\nfrom yolo_attn.cli import main\n"
            "sys.exit(main(['compare', 'variants=MeanGate@neck', 'controls=', 'data=' + sys.argv[1], 'seeds=1', "
            "'epochs=1', 'imgsz=32', 'batch=4', 'threads=1', 'device=cpu', 'val=False', 'name=own', "
            f"'project=' + sys.argv[2], 'layers={code / 'own_gates.py'}']))\n"
        )
    command = [sys.executable, str(script), str(data), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    arms = json.loads((project / "own" / "results.json").read_text())["arms"]
    assert [run["status"] for arm in arms for run in arm["runs"]] == ["done", "done"]
    if where != "the script names itself":
        return
    # The checkpoint works with its file; without it, the message names the missing module.
    (last,) = (project / "own").glob("runs/MeanGate*/train/weights/last.pt")
    words = ["val", f"model={last}", f"data={data}", "imgsz=32", "workers=0", "plots=False", f"project={tmp_path}"]
    val = "import sys; from yolo_attn.cli import main; sys.exit(main(sys.argv[1:]))"
    (layers,) = (project / "own" / "layers").glob("*.py")
    assert python(val, *words, cwd=elsewhere, check=False).returncode == 2
    python(val, *words, f"layers={layers}", cwd=elsewhere)
