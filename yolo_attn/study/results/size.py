"""`Size`: a study of some size, and what it takes and detects."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Size"]


@dataclass(frozen=True)
class Size:
    """A study with some number of seeds, bases and test images.

    Args:
        seeds: Seeds of each arm; the largest number if undecided arms get more.
        bases: Bases that they start from in turn in a study with several; None in others.
        runs: Runs of the arms and trainings of bases.
        seconds: Time of all of them; None if unknown.
        detectable: Smallest true difference that is found with a probability of 80 %, a fraction: 90 % interval, given
            how well the noise is known. None if unknown, or if there are too few seeds for a verdict.
        equivalent: Probability of the verdict "equivalent" for a variant that does not differ; None as above.
        images: Factor for the number of test images.
    """

    seeds: int
    bases: int | None
    runs: int
    seconds: float | None
    detectable: tuple[float, float] | None
    equivalent: float | None
    images: int = 1
