"""The process that times a training step on a GPU: `python -m yolo_attn.study.running.step_timer`.

A process keeps the memory that it has used on a GPU, and its context, until it ends. The process of a study therefore
uses no GPU itself, so that its runs have all of the memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from yolo_attn.study.running.local import child_environment

__all__ = ["main", "step_seconds_elsewhere"]

_SECONDS = 300.0  # until it is stopped


def step_seconds_elsewhere(layers: Sequence[str], threads: int, arguments: Mapping[str, object]) -> float:
    """Return `step_seconds`, measured in a process of its own.

    Args:
        layers: Files of custom layers.
        threads: CPU threads.
        arguments: The other arguments of `step_seconds`.

    Raises:
        subprocess.SubprocessError: The step fails, such as for lack of memory, or takes too long.
    """
    done = subprocess.run(
        [sys.executable, "-m", "yolo_attn.study.running.step_timer"],
        input=json.dumps({"layers": list(layers), "arguments": {**arguments, "threads": threads}}, default=str),
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=_SECONDS,
        env=child_environment(threads),
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Read the arguments as JSON from standard input, and print the seconds."""
    from yolo_attn.host.timing import step_seconds
    from yolo_attn.layer_files import load_layers

    given = json.load(sys.stdin)
    load_layers(given["layers"])
    print(step_seconds(**given["arguments"]))


if __name__ == "__main__":
    main()
