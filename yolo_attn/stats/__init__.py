"""Average precision from stored matches, its noise, and the comparison of two arms: numpy and scipy, nothing else.

`matches` is what one evaluated checkpoint found, image by image; `ap` is average precision from matches, of all images
or of weighted ones; `bootstrap` is how that would vary with other test images; `compare` is the difference of two arms
over seeds, with an interval that carries both noises.
"""

from __future__ import annotations
