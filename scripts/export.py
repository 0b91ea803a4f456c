"""Run `yolo-attn export`: python scripts/export.py key=value ..."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
