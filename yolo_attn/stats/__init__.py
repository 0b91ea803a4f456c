"""Metrics from stored evaluations, their noise, and the comparison of two arms, with numpy and scipy only.

An `evaluation` is one checkpoint's predictions, image by image; `tasks` lists its kinds. `matches` is that of
detections, and `ap` computes average precision from matches of all images or of weighted ones. `bootstrap` estimates
the variation of the metrics with other test images. `chance` detects runs that have not learned. `compare` estimates
the difference of two arms over seeds, with an interval that accounts for both noises.
"""

from __future__ import annotations
