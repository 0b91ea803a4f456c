"""SIGTERM and SIGHUP end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from yolo_attn.system.signals import ending_as_ctrl_c

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")

COMMAND = """
import os, signal, sys
import yolo_attn.cli as cli
def wait(words):
    try:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        print("ignored", flush=True)
        return 0
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped with 1 of 2 runs done") from None
cli._run = wait
sys.exit(cli.main([]))
"""


AS_IN_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background commands ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_command_says_how_far_it_came(name: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{AS_IN_A_TERMINAL}{COMMAND}", name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, "yolo-attn: stopped with 1 of 2 runs done\n")


def test_a_command_with_nohup_survives_its_terminal() -> None:
    ignored = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN){COMMAND}"
    done = subprocess.run([sys.executable, "-c", ignored, "SIGHUP"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ignored\n")


def test_the_second_signal_ends_the_process() -> None:
    with ending_as_ctrl_c() as received:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_fork_ends_as_usual() -> None:
    with ending_as_ctrl_c():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM


def test_other_threads_change_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def run() -> None:
        with ending_as_ctrl_c():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
