"""Run `yolo-attn val`: python scripts/val.py key=value ..."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["val", *sys.argv[1:]]))
