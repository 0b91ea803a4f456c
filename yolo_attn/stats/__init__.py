"""Average precision from stored matches, its noise, and the comparison of two arms, with numpy and scipy only.

`matches` stores the detections of one evaluated checkpoint, image by image. `ap` computes average precision from
matches of all images or of weighted ones. `bootstrap` estimates its variation with other test images. `chance` detects
runs that have not learned. `compare` estimates the difference of two arms over seeds, with an interval that accounts
for both noises.
"""

from __future__ import annotations
