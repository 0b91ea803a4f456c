"""Entry point of `python -m yolo_attn`, the same as `yolo-attn`."""

from __future__ import annotations

import sys

from yolo_attn.cli import main

sys.exit(main())
