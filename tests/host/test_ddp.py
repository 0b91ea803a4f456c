"""Registration of attention layers in multi-GPU workers."""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.host.helpers import python
from tests.study.conftest import make_job
from yolo_attn.host import ddp
from yolo_attn.host.repeatable import find_trainer
from yolo_attn.host.restricted import restricted
from yolo_attn.security.trust import trusting
from yolo_attn.study.job import Measurements
from yolo_attn.study.running import worker


def test_the_worker_script_imports_us_first(tmp_path: Path) -> None:
    """The added lines precede the template of any Ultralytics release."""
    code = """
import yolo_attn
from types import SimpleNamespace
from ultralytics.utils import dist
from ultralytics.models.yolo.detect import DetectionTrainer
from yolo_attn.host.repeatable import RepeatableDetectionTrainer
class Trainer(DetectionTrainer):
    def __init__(self):
        self.args = SimpleNamespace(model="yolo11n-cbam.yaml", imgsz=64)
        self.model, self.callbacks, self.hub_session = "yolo11n-cbam.yaml", {}, None
class Run(Trainer, RepeatableDetectionTrainer):
    save_dir = "runs/A/train"
for trainer in (Trainer(), Run()):
    file = dist.generate_ddp_file(trainer)
    print(open(file).read())
    print("---")
    dist.ddp_cleanup(trainer, file)
"""
    stock, run, _ = python(code, cwd=tmp_path).stdout.split("---")
    for script in (stock, run):
        lines = [line for line in script.splitlines() if line.strip()]
        registration = lines.index("import yolo_attn")
        assert registration < next(i for i, line in enumerate(lines) if "Ultralytics Multi-GPU" in line)
    assert "join_run" not in stock
    assert f"join_run({str(Path('runs/A'))!r}, " in run.partition("Ultralytics Multi-GPU")[0]


@pytest.mark.slow
def test_a_worker_builds_attention_layers_in_a_fresh_process(tmp_path: Path) -> None:
    """The preamble alone makes a process without this PYTHONPATH able to build a YAML with attention rows."""
    from yolo_attn.host.ddp import _preamble

    script = tmp_path / "worker.py"
    script.write_text(
        _preamble(transfer="499/499 base tensors")
        + "from ultralytics.nn.tasks import DetectionModel\n"
        + "from yolo_attn.host.provenance import describe\n"
        + "model = DetectionModel('yolo11n-cbam.yaml', verbose=False)\n"
        + "print(describe(model)['transfer'], type(model.model[17]).__name__)\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=env, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "499/499 base tensors CBAM"


@pytest.mark.slow
def test_a_custom_module_is_imported(tmp_path: Path) -> None:
    (tmp_path / "my_layers.py").write_text(
        "from torch import nn\nimport yolo_attn\n\n"
        "@yolo_attn.register_layer(family='block', summary='passes on')\n"
        "class MyLayer(nn.Module):\n"
        "    def __init__(self, channels):\n        super().__init__()\n"
        "    def forward(self, x):\n        return x\n"
    )
    code = "import sys; sys.path.insert(0, sys.argv[1]); import my_layers\n"
    code += "from yolo_attn.host.ddp import _preamble; print(_preamble())"
    assert "import my_layers" in python(code, str(tmp_path)).stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always searches the working folder")
@pytest.mark.parametrize("trusted", [False, True])
def test_the_launcher_imports_nothing_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """Which may be a received one, with a module of any name in it."""
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # restored after the test
    (tmp_path / "argparse.py").write_text("open('ran', 'w').close()\n")
    script = tmp_path / "script.py"
    script.touch()
    with trusting(trusted), restricted():
        ddp._wrap(lambda trainer: str(script))(SimpleNamespace(model=None))
    subprocess.run([sys.executable, "-m", "json.tool", "--help"], cwd=tmp_path, capture_output=True, check=False)
    assert (tmp_path / "ran").exists() == trusted


GLOO_TRAINER = """
import torch
from torch import distributed, nn
from ultralytics.models.yolo.detect import DetectionTrainer


class ParallelOnCPU(nn.parallel.DistributedDataParallel):
    def __init__(self, module, device_ids=None, **options):
        super().__init__(module, **options)


nn.parallel.DistributedDataParallel = ParallelOnCPU


class GlooTrainer(DetectionTrainer):
    '''The stock trainer as one of two workers, with CPUs for GPUs.'''

    def _setup_ddp(self, *world_size):
        self.device = torch.device("cpu")
        distributed.init_process_group("gloo", timeout=__import__("datetime").timedelta(seconds=60))

    def final_eval(self):
        pass  # the stock one requires a GPU in a worker

    def train(self):
        self.world_size = 2
        self._do_train(*([2] if self._do_train.__func__.__code__.co_argcount > 1 else []))
"""


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_two_processes_train(tmp_path: Path) -> None:
    """Two restricted workers train a model with an attention layer from the script that Ultralytics writes."""
    from yolo_attn.data.digits import make_digits

    data = make_digits(tmp_path / "data", counts={"train": 8, "val": 4, "test": 4})
    (tmp_path / "gloo_trainer.py").write_text(GLOO_TRAINER)
    code = f"""
import subprocess, sys
sys.path.insert(0, {str(tmp_path)!r})
import yolo_attn
from gloo_trainer import GlooTrainer
from ultralytics.utils import dist
from yolo_attn.host.restricted import restrict
restrict()
trainer = GlooTrainer(overrides=dict(model="yolo11n-cbam.yaml", data={str(data)!r}, epochs=1, imgsz=64, batch=4,
    workers=0, device="cpu", project={str(tmp_path)!r}, name="ddp", exist_ok=True, val=False, plots=False, amp=False))
trainer.hub_session = None
file = dist.generate_ddp_file(trainer)
assert "\\nrestrict()\\n" in open(file).read()
done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port",
    str(dist.find_free_network_port()), file])
dist.ddp_cleanup(trainer, file)
sys.exit(done.returncode)
"""
    done = python(code, cwd=tmp_path, check=False, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "ddp" / "weights" / "last.pt").exists()


# The worker of a run whose training is two ranks that meet and then wait, started as Ultralytics starts them.
RUN = """
import subprocess, sys
from ultralytics.utils import dist
from yolo_attn.host.ddp import _preamble
from yolo_attn.study.job import Measurements
from yolo_attn.study.running import worker

RANK = '''
if __name__ == "__main__":
    import os, time
    from pathlib import Path
    from torch import distributed
    distributed.init_process_group("gloo")
    distributed.barrier()
    Path("rank" + os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(120)
'''

def perform(folder, job):
    script = folder / "ranks.py"
    script.write_text(_preamble(folder) + RANK)
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port",
        str(dist.find_free_network_port()), str(script)], check=True, cwd=folder)
    return Measurements()

sys.exit(worker.main(sys.argv[1:], perform))
"""
STUDY = """
import sys, time
from pathlib import Path
from yolo_attn.study.running.local import LocalRunner
child = LocalRunner(command=(sys.executable, sys.argv[1])).start(Path(sys.argv[2]), 1)
Path(sys.argv[2], "worker").write_text(str(child._process.pid))
sys.stdin.readline()
child.stop()
print("stopped", flush=True)
time.sleep(120)
"""


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available() or os.name != "posix", reason="needs torch.distributed")
@pytest.mark.parametrize("ended", ["stopped", "worker killed", "study killed"])
def test_no_rank_outlives_its_run_and_none_is_left_when_the_next_attempt_begins(tmp_path: Path, ended: str) -> None:
    folder, script = tmp_path / "run", tmp_path / "run.py"
    folder.mkdir()
    script.write_text(RUN)
    (folder / "run.json").write_text(make_job().to_text())
    command = [sys.executable, "-c", STUDY, str(script), str(folder)]
    study = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert study.stdin is not None
    assert study.stdout is not None
    try:
        numbers = [wait_for_number(folder / f"rank{rank}") for rank in range(2)]
        ranks = [psutil.Process(number) for number in numbers]
        assert [os.getpgid(number) for number in numbers] == numbers  # outside the worker's group
        if ended == "stopped":
            study.stdin.write(b"\n")
            study.stdin.flush()
            assert study.stdout.readline() == b"stopped\n"
            assert not any(map(is_alive, ranks))
        elif ended == "worker killed":  # while the study is busy and does not notice
            os.kill(wait_for_number(folder / "worker"), signal.SIGKILL)
        else:
            study.kill()
        found: list[bool] = []

        def look(*_: object) -> Measurements:
            found.extend(map(is_alive, ranks))
            return Measurements()

        assert worker.main([str(folder)], look) == 0
        assert found == [False, False]
    finally:
        study.kill()
        study.communicate()


def wait_for_number(path: Path) -> int:
    """Wait for a file and return the process id in it."""
    deadline = time.monotonic() + 120
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.05)
    return int(path.read_text())


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "rtdetr"])
def test_the_trainers_of_a_study_are_found_by_the_workers(task: str) -> None:
    """Workers import the trainer's class by module and name, and get the name of its arguments from it."""
    trainer = find_trainer("detect", rtdetr=True) if task == "rtdetr" else find_trainer(task)
    assert getattr(importlib.import_module(trainer.__module__), trainer.__name__) is trainer
    assert pickle.loads(pickle.dumps(trainer)) is trainer
