from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from tests.study.conftest import Fake
from yolo_attn.errors import UserError
from yolo_attn.study import reporting
from yolo_attn.study.running.ray import RayRunner, _reason_of
from yolo_attn.study.specification.device import check_share, count_devices, device_kind, first_device, read_device
from yolo_attn.study.specification.study import Study


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that appears to have four GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("given", "name", "kind", "first", "count"),
    [
        ("cpu", "cpu", "cpu", "cpu", 1),
        (" CPU ", "cpu", "cpu", "cpu", 1),
        (0, "0", "cuda", "cuda:0", 1),
        ("cuda", "0", "cuda", "cuda:0", 1),
        ("cuda:1", "1", "cuda", "cuda:1", 1),
        ("01", "1", "cuda", "cuda:1", 1),
        ("[2, 1]", "2,1", "cuda", "cuda:2", 2),
        ("(0,1)", "0,1", "cuda", "cuda:0", 2),
        ([0, 1, 3], "0,1,3", "cuda", "cuda:0", 3),
        ("cuda:0,cuda:1", "0,1", "cuda", "cuda:0", 2),
        ("0,1,", "0,1", "cuda", "cuda:0", 2),
        (None, None, "cuda", "cuda", 1),
        ("", None, "cuda", "cuda", 1),
        ("None", None, "cuda", "cuda", 1),
    ],
)
@pytest.mark.usefixtures("four_gpus")
def test_forms_of_a_device(given: object, name: str | None, kind: str, first: str, count: int) -> None:
    assert read_device(given) == name
    assert read_device(name) == name
    assert (device_kind(name), first_device(name), count_devices(name)) == (kind, first, count)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gpu", "not a device"),
        ("cpu:0", "not a device"),
        ("True", "not a device"),
        ("cuda:x", "not a device"),
        ("0;1", "not a device"),
        ("-1", "omit device="),
        ("-1,-1", "omit device="),
        ("0,0", "named twice"),
        ("0,4", "there is no CUDA device 4 here (PyTorch finds 4)"),
    ],
)
@pytest.mark.usefixtures("four_gpus")
def test_an_invalid_device_is_an_error(given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_device(given)
    assert str(caught.value).startswith(f"device={given}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["0", "cuda", "0,1", "mps", "MPS:0", "xpu:0", "npu"])
@pytest.mark.usefixtures("no_gpu")
def test_a_missing_device_is_an_error_unless_runs_are_executed_elsewhere(given: str) -> None:
    with pytest.raises(UserError, match="give device=cpu"):
        read_device(given)
    assert read_device(given, here=False) in {"0", "0,1", "mps", "xpu:0", "npu"}
    assert Study.from_arguments({"device": given, "runner": "ray"}).device == read_device(given, here=False)
    with pytest.raises(UserError, match="give device=cpu"):
        Study.from_arguments({"device": given})
    assert first_device(None) == "cpu"


def test_mps_is_used_if_it_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert read_device("mps:0") == "mps"
    assert (device_kind("mps"), first_device("mps")) == ("mps", "mps")


@pytest.mark.usefixtures("four_gpus")
def test_a_gpu_can_be_named_by_its_number_in_cuda_visible_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert read_device("7") == "7"
    assert (first_device("7"), first_device("1")) == ("cuda:1", "cuda:1")
    with pytest.raises(UserError, match="no CUDA device 5"):
        read_device("5")


def test_a_batch_must_be_divisible_if_the_host_requires_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.utils import torch_utils

    monkeypatch.setattr(torch_utils, "select_device", lambda device: None)
    check_share("0,1", 7)
    monkeypatch.setattr(torch_utils, "select_device", lambda device, batch: None)
    check_share("0,1", 8)
    check_share("0", 7)
    with pytest.raises(UserError, match="batch=7: cannot be divided among 2 devices; give a multiple of 2"):
        check_share("0,1", 7)


def test_another_number_of_gpus_is_another_run_and_is_reported(
    fake: Fake, four_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "first_device", lambda device: "cpu")  # there is no GPU to measure latency on
    arguments = {"variants": "A", "seeds": 1}
    fake.compare(**arguments, device="0")
    fake.compare(**arguments, device="3")
    assert len(fake.starts()) == 2
    assert "last trained" not in fake.output()
    fake.compare(**arguments, device="0,1")
    assert len(fake.starts()) == 4
    assert "s: last trained on 1 cuda, now on 2 cuda; runs of different devices are not mixed" in fake.output()
    fake.compare(**arguments, device="2,3")
    fake.compare(**arguments, device="0")
    assert len(fake.starts()) == 4
    assert "last trained on 2 cuda, now on 1 cuda" in fake.output()


@pytest.mark.usefixtures("no_gpu")
def test_runs_on_ray_can_share_a_gpu() -> None:
    given = {"device": "0", "runner": "ray", "gpus": "0.25"}
    assert Study.from_arguments(given).gpus == 0.25
    assert Study.from_arguments({**given, "gpus": 1}).gpus == 1
    assert Study.from_arguments({"device": "0", "runner": "ray"}).gpus is None
    for wrong, message in (
        ({"gpus": "2"}, "gpus=2: must be the part of a GPU"),
        ({"gpus": "0"}, "gpus=0: "),
        ({"gpus": "x"}, "gpus=x: "),
        ({"runner": "local", "device": "cpu"}, "gpus=0.25: belongs to runner=ray"),
        ({"device": "cpu"}, "gpus=0.25: is for runs on one GPU each"),
        ({"device": "0,1"}, "gpus=0.25: is for runs on one GPU each"),
    ):
        with pytest.raises(UserError) as caught:
            Study.from_arguments({**given, **wrong})
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("nodes", "request_of_a_run", "runs"),
    [
        ([(64, 2)], ("0", 1, None), 2),
        ([(64, 2)], ("0", 1, 0.25), 8),
        ([(64, 2)], ("0", 1, 0.1), 20),
        ([(64, 2)], ("0", 1, 1.0), 2),
        ([(64, 2)], ("0", 1, 0.4), 4),  # no run on parts of two GPUs
        ([(4, 8)], ("0", 1, None), 4),  # each needs a core
        ([(64, 3), (64, 1)], ("0,1", 1, None), 1),
        ([(3, 0), (3, 0), (3, 0)], ("cpu", 2, None), 3),  # no run on two nodes
    ],
)
def test_the_runs_that_a_cluster_executes_at_once(
    nodes: list[tuple[int, int]],
    request_of_a_run: tuple[str, int, float | None],
    runs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [{"Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(cards)}} for cpus, cards in nodes]
    gone = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    cluster = SimpleNamespace(is_initialized=lambda: True, nodes=lambda: [*found, gone])
    monkeypatch.setitem(sys.modules, "ray", cluster)
    device, threads, gpus = request_of_a_run
    runner = RayRunner(None, device, threads, "digits", gpus=gpus)
    assert runner.workers == runs


def test_why_a_run_failed_on_a_cluster() -> None:
    """The text of Ray's error begins with the traceback."""

    class RayTaskError(Exception):
        cause = UserError("/tmp/yolo-attn-0: belongs to another user")

    assert _reason_of(RayTaskError("File ..." * 99)) == (
        "failed on the cluster: /tmp/yolo-attn-0: belongs to another user"
    )
    assert _reason_of(Exception("the node died")) == "lost on the cluster: the node died"
