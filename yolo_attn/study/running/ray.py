"""Execution of runs on a Ray cluster, local or remote.

The files of a run's folder are sent to a node, where the same worker as on this machine executes the run in its own
process. The results are sent back into the store. The nodes need yolo-attn and the dataset (a built-in or downloadable
dataset is fetched there), and no shared file system.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from yolo_attn.data import find_dataset
from yolo_attn.errors import UserError, one_line, plain
from yolo_attn.study.files import JOB, LAYERS, LOG, MODEL, OUTPUTS, RESULT, TRAINING_STATE
from yolo_attn.study.job import Job, RunResult
from yolo_attn.study.running.local import WORKER, LocalRunner
from yolo_attn.study.running.runner import Outcome
from yolo_attn.study.specification.device import device_kind
from yolo_attn.system.files import make_folder, write_atomically

__all__ = ["RayRunner", "execute"]

_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 10.0
_RETRIES = 20  # how often a run can lose its worker or its node
_WEIGHTS = "weights.pt"


class Answer(NamedTuple):
    """The files and the reason that a node returns for a run.

    Args:
        files: Contents by name.
        reason: Why there is no result; None with one.
    """

    files: dict[str, bytes]
    reason: str | None


class RayRunner:
    """Executes runs as Ray tasks.

    Args:
        address: As in `ray.init`: "auto", "ray://host:10001", "host:6379"; None starts Ray on this machine.
        device: The runs' device; each of several CUDA devices is one requested GPU.
        threads: CPU threads of a run, which it requests.
        data: The dataset as the user named it.
        command: The command of a run's process.
        gpus: The part of a GPU that a run requests; None for one GPU for each of its devices.

    Raises:
        UserError: Ray is not installed or the cluster cannot be reached.
    """

    def __init__(
        self,
        address: str | None,
        device: str | None,
        threads: int,
        data: str,
        command: tuple[str, ...] | None = None,
        *,
        gpus: float | None = None,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise UserError('runner=ray needs Ray: pip install "yolo-attn[ray]"') from None
        self._ray: Any = ray
        self._command = command
        is_path = Path(data).is_file() or (Path(data).is_dir() and find_dataset(data) is None)
        self._data = str(Path(data).resolve()) if is_path else data
        self._threads = threads
        self._gpus = gpus or _gpus_of(device)
        self._started_here = not ray.is_initialized()
        if self._started_here:
            _check_reachable(address)
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (self._ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
                reason = plain(str(error))[:200]
                raise UserError(f"address={address}: no Ray cluster can be reached there ({reason})") from None

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        """Whether the cluster has free processors or GPUs; one run is submitted in advance."""
        return running <= self._capacity()

    @property
    def workers(self) -> int:
        """The runs that the cluster executes at once."""
        return max(1, self._capacity())

    def _capacity(self) -> int:
        return sum(_runs_on(node, self._request) for node in self._nodes())

    def _nodes(self) -> list[dict[str, float]]:
        """Return the resources of the nodes that are alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    @property
    def _request(self) -> dict[str, float]:
        """What a run reserves on a node.

        Runs on GPUs reserve one core each, because reserving all threads would leave other GPUs of a node idle.
        """
        return {"CPU": 1, "GPU": self._gpus} if self._gpus else {"CPU": self._threads}

    @property
    def shortage(self) -> str | None:
        """Why no node of the cluster can execute a run, for which Ray would wait silently; None if one can."""
        nodes = self._nodes()
        if any(_runs_on(node, self._request) for node in nodes):
            return None
        kind, amount = list(self._request.items())[-1]
        largest, key = max((node.get(kind, 0) for node in nodes), default=0), "device" if kind == "GPU" else "threads"
        return (
            f"a run needs {amount:g} {kind}s of one node, and the largest has {largest:g}: runs wait until a larger "
            f"one joins; otherwise give a smaller {key}="
        )

    def start(self, folder: Path, threads: int) -> _Task:
        """Send a run to the cluster."""
        files, request = files_of(folder), self._request
        remote = self._ray.remote(max_retries=_RETRIES, num_cpus=request["CPU"], num_gpus=request.get("GPU", 0))(
            execute
        )
        arguments = (files, threads, self._data, self._command, bool(self._gpus))
        return _Task(self._ray, remote.options(name=folder.name).remote(*arguments), folder)

    def close(self) -> None:
        """Disconnect from the cluster."""
        if self._started_here:
            self._ray.shutdown()


class _Task:
    """One run on the cluster."""

    def __init__(self, ray: Any, reference: Any, folder: Path) -> None:
        self._ray, self._reference, self._folder = ray, reference, folder

    def poll(self) -> Outcome | None:
        """Return the outcome after storing the results, None while the run is running.

        Raises:
            UserError: The results cannot be written.
        """
        done, _ = self._ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            answer: Answer = self._ray.get(self._reference)
        except self._ray.exceptions.RayError as error:
            return Outcome(False, _reason_of(error))
        _store_files(answer.files, self._folder)
        return Outcome(RESULT in answer.files, answer.reason)

    def stop(self) -> None:
        """Cancel the task: its worker ends, and the run's process with it."""
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.cancel(self._reference, force=True)


def _runs_on(node: Mapping[str, float], request: Mapping[str, float]) -> int:
    """Return the number of runs that a node executes at once; a part of a GPU is on one of them.

    Args:
        node: Its resources.
        request: Those of a run.
    """
    runs = []
    for kind, amount in request.items():
        parts = max(1, int(1 / amount + 1e-6))  # 1 / 0.1 is rounded
        runs.append(int(node.get(kind, 0.0)) * parts if amount < 1 else int(node.get(kind, 0.0) / amount))
    return min(runs)


def _reason_of(error: Exception) -> str:
    """Return why a task has no answer: the exception that it raised, or how Ray lost it."""
    cause = getattr(error, "cause", None)
    return f"failed on the cluster: {one_line(cause)}" if cause else f"lost on the cluster: {plain(str(error))[:200]}"


def _check_reachable(address: str | None) -> None:
    """Raise UserError if nothing listens at an address, where Ray would wait for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local" or None
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"address={address}: no Ray cluster can be reached there ({reason})") from None


def _gpus_of(device: str | None) -> int:
    """Return the number of GPUs of a run with this `device=`."""
    return len(device.split(",")) if device and device_kind(device) == "cuda" else 0


def _store_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files from a node; the result, which marks the run as finished, comes last, with this user's seal."""
    for name in files.keys() - {RESULT}:
        path = folder / name
        make_folder(path.parent)
        write_atomically(path, files[name])
    if RESULT in files:
        RunResult.from_json(json.loads(files[RESULT])).write(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a prepared run that a node needs: contents by name."""
    files = {JOB: (folder / JOB).read_bytes(), MODEL: (folder / MODEL).read_bytes()}
    weights = Job.read(folder).weights
    if weights:
        files[_WEIGHTS] = Path(weights).read_bytes()
    sources = [path for path in (folder / LAYERS).rglob("*.py") if path.is_file()]
    return {**files, **{path.relative_to(folder).as_posix(): path.read_bytes() for path in sources}}


def execute(
    files: Mapping[str, bytes], threads: int, data: str, command: tuple[str, ...] | None, on_gpu: bool
) -> Answer:
    """Execute a run on the node that Ray chose.

    The folder is kept under the run's key until the run is done. A run that lost its worker, or that failed and is
    retried, resumes there if it comes back to the same node.

    Args:
        files: Contents by name: run.json, model.yaml, weights.pt if training starts from weights, and files of custom
            layers.
        threads: CPU threads.
        data: The dataset as the user named it.
        command: The command of the run's process; the package's worker by default.
        on_gpu: Whether Ray has assigned GPUs, which are numbered from 0 here.
    """
    job = Job.from_json(json.loads(files[JOB]))
    folder = _scratch() / job.key[:16]
    make_folder(folder)
    job = _localize(job, folder, data, on_gpu)
    for name, content in {**files, JOB: job.to_text().encode()}.items():
        make_folder((folder / name).parent)
        (folder / name).write_bytes(content)
    child = LocalRunner(command=command or (sys.executable, *WORKER[1:])).start(folder, threads)
    try:
        while (outcome := child.poll()) is None:
            time.sleep(_POLL_SECONDS)
    except UserError as error:
        return Answer({LOG: (folder / LOG).read_bytes()}, f"{job.node}: {error}")
    finally:
        child.stop()
    returned = {name: (folder / name).read_bytes() for name in OUTPUTS if (folder / name).is_file()}
    if RESULT in returned:
        _clean_up(folder, RunResult.read(folder).status)
    return Answer(returned, outcome.reason)


def _clean_up(folder: Path, status: str) -> None:
    """Remove the folder of a run on its node; of a failed run the state remains, from which a retry here resumes."""
    if status == "failed" and (folder / TRAINING_STATE).exists():
        (folder / RESULT).unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _scratch() -> Path:
    """Return the folder of this node's current runs, which no other user can write.

    Raises:
        UserError: Another user has made a folder of its name.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    own = Path(tempfile.gettempdir()) / f"yolo-attn-{user}"
    own.mkdir(mode=0o700, exist_ok=True)
    state = own.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != user:
        raise UserError(f"{own}: belongs to another user; set TMPDIR on this node to a folder of your own")
    own.chmod(0o700)
    return own / "runs"


def _node() -> str:
    """Return the address of this node in Ray."""
    util: Any = importlib.import_module("ray.util")
    return str(util.get_node_ip_address())


def _localize(job: Job, folder: Path, data: str, on_gpu: bool) -> Job:
    """Return a job with the paths and devices of this node: its copy of the dataset, the weights, its GPUs."""
    return replace(
        job,
        data=data,
        node=_node(),
        weights=str(folder / _WEIGHTS) if job.weights else None,
        device=",".join(map(str, range(_gpus_of(job.device)))) if on_gpu else job.device,
    )
