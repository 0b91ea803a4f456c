"""Measure what each layer changes in one trained base, and write the leaderboard.

python benchmarks/leaderboard.py hours=2                          digits: what yolo_attn/leaderboard.json lacks
python benchmarks/leaderboard.py data=bccd.yaml base=yolo11n.pt   another dataset, from a trained checkpoint
python benchmarks/leaderboard.py only=SE,CBAM again=True          these layers again
python benchmarks/leaderboard.py --docs                           measures nothing: writes the tables in docs/
python benchmarks/leaderboard.py html=leaderboard.html            measures nothing: writes the page that sorts

Every layer with one input is measured at the neck, and ten widely used ones also at backbone.P5 and inside the base's
main block, all from the identity. The work is done in parts: ordinary studies of `part=12` placements, whose rows are
stored when all of their runs have ended. The command can be stopped at any moment and run again. It measures what
the record lacks, and resumes the interrupted part if its folder (project=runs/leaderboard) still exists.

Other keys are those of `yolo-attn compare` (base, data, pretrain, epochs, seeds, threads, workers, ...). The rows of a
dataset must have the same images, base, recipe and seeds; otherwise the command ends, unless again=True allows to
replace them. A row whose layer has other code since is measured again. `record=FILE` is another record, for trials.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.board.command import main

if __name__ == "__main__":
    if {"--help", "-h", "help"} & set(sys.argv[1:]):
        print(__doc__)
    else:
        sys.exit(main(sys.argv[1:]))
