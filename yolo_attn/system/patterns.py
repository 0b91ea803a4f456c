"""Regular expressions that may come from someone else.

Python's `re` backtracks: `(a+)+$` takes exponential time on some texts, `.*.*.*.*.*x` merely too long, and no simple
check of a pattern excludes all of these. It is therefore matched in a process of its own, which ends itself after some
seconds, even if this one has ended before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["SECONDS", "find_all"]

SECONDS = 10.0
"""Time for matching all texts; five thousand names take a few milliseconds."""

# The watchdog is a thread in C, which also runs while `re` keeps the interpreter busy.
_PROGRAM = """\
import faulthandler, json, re, sys
seconds, pattern, texts = json.load(sys.stdin)
faulthandler.dump_traceback_later(seconds, exit=True)
expression = re.compile(pattern)
found = map(expression.search, texts)
json.dump([match and (match[1 if expression.groups else 0] or "") for match in found], sys.stdout)
"""
_TIMEOUT = "Timeout ("  # what faulthandler writes then


def find_all(pattern: str, texts: Sequence[str]) -> list[str | None]:
    """Return what a pattern's first parentheses, or without any the whole pattern, match in each text.

    Args:
        pattern: A valid regular expression.
        texts: The texts.

    Returns:
        The matched parts, "" for parentheses that match nothing, None for a text without a match.

    Raises:
        TimeoutError: It takes longer than `SECONDS`.
        ChildProcessError: The process fails otherwise, such as for lack of memory.
    """
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM]  # without the modules of this user and this folder
    content = json.dumps([SECONDS, pattern, list(texts)])
    ended = subprocess.run(command, input=content, capture_output=True, text=True, check=False)
    if ended.returncode == 0:
        found: list[str | None] = json.loads(ended.stdout)
        return found
    if ended.stderr.startswith(_TIMEOUT):
        raise TimeoutError(f"matching takes longer than {SECONDS:g} seconds")
    reason = ended.stderr.strip().rpartition("\n")[2] or f"exit status {ended.returncode}"
    raise ChildProcessError(f"the process that matches has failed: {reason}")
