"""Runs on a Ray cluster, local or remote.

A run travels as the contents of its folder, is carried out on its node by the same worker in a process of its own, and
its results travel back into the store. The nodes need yolo-attn and the dataset (a built-in or downloadable one is
fetched there); no file system has to be shared.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError, plain
from yolo_attn.study.files import (
    BEST_WEIGHTS,
    BOOTSTRAP,
    JOB,
    LAST_WEIGHTS,
    LAYERS,
    LOG,
    MAPS,
    MATCHES,
    MODEL,
    RESULT,
    TRAIN_ARGUMENTS,
    TRAIN_TABLE,
    TRAINING_STATE,
)
from yolo_attn.study.running.local import WORKER, LocalRunner, Outcome
from yolo_attn.system.files import make_folder, read_json, write_atomically

__all__ = ["RayRunner", "carry_out"]

_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 10.0
_MOVES = 20  # how often a run may lose its worker or its node before it is given up
_WEIGHTS = "weights.pt"
_BACK = (MATCHES, BOOTSTRAP, MAPS, LOG, TRAIN_TABLE, TRAIN_ARGUMENTS)
_BACK_WEIGHTS = (LAST_WEIGHTS, BEST_WEIGHTS)


class RayRunner:
    """Carries runs out as Ray tasks.

    Args:
        address: As `ray.init` takes it: "auto", "ray://host:10001", "host:6379"; None starts Ray on this machine.
        device: The runs' device; several CUDA devices ask for as many GPUs.
        threads: CPU threads of a run, for which it asks.
        data: The dataset as the user named it.
        command: What a node starts for a run.

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
    ) -> None:
        try:
            import ray
        except ImportError:
            raise UserError('runner=ray needs Ray: pip install "yolo-attn[ray]"') from None
        self._ray: Any = ray
        self._command = command
        self._data = str(Path(data).resolve()) if Path(data).is_file() else data
        self._threads = threads
        self._gpus = _gpus_of(device)
        self._started_here = not ray.is_initialized()
        if self._started_here:
            _check_reachable(address)
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (self._ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
                reason = plain(str(error))[:200]
                raise UserError(f"address={address}: no Ray cluster can be reached there ({reason})") from None

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        """Return True while the cluster has processors or GPUs that nobody asked for, and for one run in advance."""
        resources = self._ray.cluster_resources()
        each = {"GPU": self._gpus} if self._gpus else {"CPU": self._threads}
        return bool(running <= min(resources.get(kind, 0.0) // amount for kind, amount in each.items()))

    def start(self, folder: Path, threads: int) -> _Task:
        """Send a run to the cluster."""
        files = files_of(folder)
        remote = self._ray.remote(max_retries=_MOVES, num_cpus=threads, num_gpus=self._gpus)(carry_out)
        given = (files, threads, self._data, self._command, bool(self._gpus))
        return _Task(self._ray, remote.options(name=folder.name).remote(*given), folder)

    def close(self) -> None:
        """Leave the cluster."""
        if self._started_here:
            self._ray.shutdown()


class _Task:
    """One run on the cluster."""

    def __init__(self, ray: Any, reference: Any, folder: Path) -> None:
        self._ray, self._reference, self._folder = ray, reference, folder

    def poll(self) -> Outcome | None:
        """Take the results home when there are any.

        Raises:
            UserError: They cannot be written.
        """
        done, _ = self._ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            back: dict[str, Any] = self._ray.get(self._reference)
        except self._ray.exceptions.RayError as error:
            return Outcome(False, f"lost on the cluster: {plain(str(error))[:200]}")
        _unpack(back["files"], self._folder)
        return Outcome(RESULT in back["files"], back["reason"])

    def stop(self) -> None:
        """Cancel it; its worker ends, and with it the run's process."""
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.cancel(self._reference, force=True)


def _check_reachable(address: str | None) -> None:
    """Raise UserError when nobody listens at an address: Ray itself would wait for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local" or none
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"address={address}: no Ray cluster can be reached there ({reason})") from None


def _gpus_of(device: str | None) -> int:
    """Return how many GPUs a run with this `device=` takes."""
    if device in {None, "cpu", "mps"}:
        return 0
    return len(str(device).split(","))


def _unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write what a node sent, the result last and whole: with it the run is over."""
    for name in sorted(files, key=lambda name: name == RESULT):
        path = folder / name
        make_folder(path.parent)
        write_atomically(path, files[name])


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what a node needs of a prepared run: names and contents."""
    files = {JOB: (folder / JOB).read_bytes(), MODEL: (folder / MODEL).read_bytes()}
    weights = read_json(folder / JOB)["weights"]
    if weights:
        files[_WEIGHTS] = Path(weights).read_bytes()
    sources = [path for path in (folder / LAYERS).rglob("*.py") if path.is_file()]
    return {**files, **{path.relative_to(folder).as_posix(): path.read_bytes() for path in sources}}


def carry_out(
    files: Mapping[str, bytes], threads: int, data: str, command: tuple[str, ...] | None, on_gpu: bool
) -> dict[str, Any]:
    """Carry one run out, on the node that Ray chose.

    The folder is kept under the run's key until the run is done, so that a run which lost its worker, or failed and is
    retried, goes on where it was if it comes back to the same node.

    Args:
        files: Names and contents: run.json, model.yaml, weights.pt where the base has weights, and the files of layers
            that are the user's own.
        threads: CPU threads.
        data: The dataset as the user named it.
        command: What to start; the package's worker by default.
        on_gpu: Ray has chosen GPUs, which are numbered from 0 here.

    Returns:
        `files`: names and contents to take home; `reason`: why there is no result, otherwise None.
    """
    order = json.loads(files[JOB])
    run = _scratch() / order["key"][:16]
    make_folder(run)
    _localise(order, run, data, on_gpu)
    for name, content in {**files, JOB: json.dumps(order).encode()}.items():
        make_folder((run / name).parent)
        (run / name).write_bytes(content)
    runner = LocalRunner(command=command or (sys.executable, *WORKER[1:]))
    child = runner.start(run, threads)
    try:
        while (outcome := child.poll()) is None:
            time.sleep(_POLL_SECONDS)
    except UserError as error:
        return {"files": {LOG: (run / LOG).read_bytes()}, "reason": f"{order['node']}: {error}"}
    finally:
        child.stop()
    names = [name for name in (*_BACK, *_BACK_WEIGHTS, RESULT) if (run / name).is_file()]
    back = {name: (run / name).read_bytes() for name in names}
    if RESULT in back:
        _leave(run, json.loads(back[RESULT])["status"])
    return {"files": back, "reason": outcome.reason}


def _leave(run: Path, status: str) -> None:
    """Remove what this node need not keep: of a failed run the state stays, from which a retry here goes on."""
    if status == "failed" and (run / TRAINING_STATE).exists():
        (run / RESULT).unlink()
    else:
        shutil.rmtree(run, ignore_errors=True)


def _scratch() -> Path:
    """Return where this node keeps the runs that it works on."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"yolo-attn-{user}" / "runs"


def _node() -> str:
    """Return the address by which Ray knows this node."""
    util: Any = importlib.import_module("ray.util")
    return str(util.get_node_ip_address())


def _localise(order: dict[str, Any], run: Path, data: str, on_gpu: bool) -> None:
    """Let an order name what this node has: its copy of the dataset, the weights beside it, its own GPUs."""
    order["data"] = data
    order["node"] = _node()
    if order["weights"]:
        order["weights"] = str(run / _WEIGHTS)
    if on_gpu:
        order["device"] = ",".join(str(number) for number in range(_gpus_of(order["device"])))
