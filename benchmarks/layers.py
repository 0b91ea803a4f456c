"""Benchmark of layers: time and peak memory, beside timm, fightingcv-attention and what the machine allows.

python benchmarks/layers.py only=SE,CBAM               these layers at P3, P4 and P5 of an image with 640 pixels
python benchmarks/layers.py peers=True out=cpu.json    all layers that timm or fightingcv-attention has, also as JSON
python benchmarks/layers.py device=0 dtype=bfloat16 compile=True batch=1,16
python benchmarks/layers.py only=Axial against=HEAD~10 products=True    beside another commit, and its products alone

Keys: only, peers, against, levels, batch, modes (forward, train), device, dtype, compile, products (convolutions and
matrix products alone), seconds (per measurement), threads, pages (memory returns to the system, as by default), out;
`--only SE` is accepted for `only=SE`. benchmarks/README.md says what the columns mean and has the results.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.speed.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
