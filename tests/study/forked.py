"""Fake runs in forked processes, which import nothing: a tenth of the cost of a new interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


class ForkedWorker:
    """The fake worker in a fork of this process, with the part of `subprocess.Popen` that a runner uses.

    Args:
        arguments: The arguments of the worker.
        output: The file to which it prints.
        env: Its environment.
    """

    def __init__(self, arguments: Sequence[str], output: IO[bytes], env: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become_child(reader, output.fileno(), env, arguments)
        os.close(reader)
        self.stdin = os.fdopen(writer, "wb")

    def poll(self) -> int | None:
        """Return the exit status, None while it is running."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Return the exit status when it has ended."""
        return self._wait(0)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _become_child(reader: int, output: int, env: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Run the worker as a new process with these streams and this environment would; does not return."""
    status = 1
    try:
        os.setsid()
        for source, target in ((reader, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # including the other runs' pipes, which would stay open
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", 1), open(2, "w", 1)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(env)
        from tests.study import fake_worker

        status = fake_worker.main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def start(command: Sequence[str], **options: Any) -> ForkedWorker | subprocess.Popen[bytes]:
    """Start a process like `subprocess.Popen`; the fake worker is forked."""
    if command[1] != str(FAKE_WORKER) or not hasattr(os, "fork"):
        return subprocess.Popen(command, **options)
    return ForkedWorker(command[2:], options["stdout"], options["env"])


SUBPROCESS = SimpleNamespace(**{**vars(subprocess), "Popen": start})
"""The module `subprocess`, whose processes are forked if they are the fake worker."""
