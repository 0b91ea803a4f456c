"""Requests to end that are not Ctrl-C: SIGTERM of a job scheduler or a service, SIGHUP of a closed terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["ending_as_ctrl_c"]


@contextlib.contextmanager
def ending_as_ctrl_c() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for SIGTERM and SIGHUP within a `with` block, so that a command ends as with Ctrl-C.

    The second one ends the process at once. Ignored signals, as with nohup, stay ignored, and processes forked in the
    block end as usual. Other threads than the main one cannot handle signals, and nothing changes there.

    Yields:
        The signals received so far.
    """
    received: list[int] = []
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        for other in handled:
            signal.signal(other, signal.SIG_DFL)
        if os.getpid() != owner:
            os.kill(os.getpid(), number)
        received.append(number)
        raise KeyboardInterrupt

    wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()
    handled = [number for number in wanted if in_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
