"""Run `yolo-attn report`: python scripts/report.py key=value ..."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
