"""Run `yolo-attn predict`: python scripts/predict.py key=value ..."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
