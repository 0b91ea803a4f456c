"""`python -m yolo_attn` is `yolo-attn`."""

from __future__ import annotations

import sys

from yolo_attn.cli import main

sys.exit(main())
