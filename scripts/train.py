"""Run `yolo-attn train`: python scripts/train.py key=value ..."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
