"""The budget of a search: the rungs that fit into a number of runs or into a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from yolo_attn.errors import UserError, counted
from yolo_attn.selection.racing import Rung, cost_of, plan_rungs, with_more_seeds
from yolo_attn.selection.specification import Search
from yolo_attn.study.running.progress import clock
from yolo_attn.study.specification.recipe import recipe_integer

__all__ = ["Budget"]


class Budget:
    """The budget of a search. Its unit is a run, or a second of one worker with `hours=`.

    Args:
        search: The search.
        workers: Runs that are executed at once.
        seconds: Expected seconds of a run of a rung with a number of epochs; None if unknown.
        confirm_seconds: The same for a run of the confirmation, which has more images.
    """

    def __init__(
        self,
        search: Search,
        workers: int,
        seconds: Callable[[int], float | None],
        confirm_seconds: Callable[[int], float | None],
    ) -> None:
        self._search, self._workers = search, workers
        self._seconds, self._expected_confirm_seconds = seconds, confirm_seconds
        self._epochs = recipe_integer(search.study.train, "epochs")
        self._measured: dict[int, float] = {}
        self._finalists = search.finalists

    def learn(self, epochs: int, seconds: float | None) -> None:
        """Take the measured time of runs with a number of epochs instead of the expected one."""
        if seconds is not None:
            self._measured.pop(epochs, None)  # the newest measurement comes last
            self._measured[epochs] = seconds

    @property
    def workers(self) -> int:
        """Runs that are executed at once."""
        return self._workers

    def plan(self, candidates: int) -> list[Rung]:
        """Return the rungs of the search.

        Args:
            candidates: Number of candidates.

        Raises:
            UserError: The budget is not sufficient for a search.
        """
        found = self._rungs(candidates, ())
        if not found:
            raise self._too_small(candidates)
        return found

    @property
    def finalists(self) -> int:
        """The largest number of candidates that are confirmed."""
        return self._finalists

    def limit_finalists(self, candidates: int) -> None:
        """Take into account that there are no more finalists than candidates and pairs of them."""
        pairs = candidates * (candidates - 1) // 2 if self._search.pairs else 0
        self._finalists = min(self._search.finalists, candidates + pairs)

    def plan_rest(self, begun: Sequence[Rung], candidates: int) -> list[Rung]:
        """Return the rungs that have begun, and those that the budget allows after them, which may be none.

        Args:
            begun: The rungs that have begun, with the candidates that they had.
            candidates: Number of candidates that continue.
        """
        return self._rungs(candidates, begun)

    def _rungs(self, candidates: int, begun: Sequence[Rung]) -> list[Rung]:
        finalists = min(self._search.finalists, candidates)
        return plan_rungs(
            candidates,
            self._epochs,
            finalists,
            self._of_rungs(),
            self._price,
            pairs=self._search.pairs,
            begun=begun,
        )

    def grow(self, rungs: Sequence[Rung]) -> list[Rung]:
        """Return the rungs with as many seeds in the last one as the budget still allows.

        Args:
            rungs: The rungs, those that are finished with the candidates that they had.
        """
        budget = self._of_rungs()
        return list(rungs) if budget is None else with_more_seeds(rungs, budget, self._price)

    def total_runs(self, rungs: Sequence[Rung]) -> int:
        """Return the number of runs of the whole search, the confirmation included."""
        return round(cost_of(rungs, lambda epochs: 1.0)) + self._outside_rungs

    @property
    def _outside_rungs(self) -> int:
        """All runs but those of the arms of the rungs."""
        search = self._search
        return search.confirm_runs(self._finalists) + search.rung_bases + search.confirm_bases

    def expected_seconds(self, rungs: Sequence[Rung]) -> float | None:
        """Return the expected time of the whole search; None if it is unknown."""
        if self._seconds(self._epochs) is None and self._search.hours is None:
            return None
        return self._base_seconds() + (cost_of(rungs, self._run_seconds) + self._confirm_seconds()) / self._workers

    def _of_rungs(self) -> float | None:
        """Return what the rungs may cost; None without a budget."""
        search = self._search
        if search.runs is not None:
            return search.runs - self._outside_rungs
        if search.hours is None:
            return None
        return (3600 * search.hours - self._base_seconds()) * self._workers - self._confirm_seconds()

    def _price(self, epochs: int) -> float:
        return 1.0 if self._search.hours is None else self._run_seconds(epochs)

    def _run_seconds(self, epochs: int) -> float:
        """Return the seconds of a run: as measured, or as expected and corrected by the last measurement."""
        if epochs in self._measured:
            return self._measured[epochs]
        seconds = self._seconds(epochs)
        if seconds is None:
            raise UserError("hours=: the time of a run cannot be estimated for this base and dataset; give runs=")
        ratios = [known / guess for other, known in self._measured.items() if (guess := self._seconds(other))]
        return seconds * (ratios[-1] if ratios else 1.0)

    def _confirm_seconds(self) -> float:
        """Return the seconds of all runs of the confirmation but those of its bases."""
        runs = self._search.confirm_runs(self._finalists)
        return runs * self._run_seconds(self._epochs) * self._confirm_ratio(self._epochs)

    def _base_seconds(self) -> float:
        """Return the time in which bases are trained, and all other runs wait for them."""
        search, epochs = self._search, self._search.study.design.pretrain
        if not epochs:
            return 0.0
        return self._run_seconds(epochs) * (search.rung_bases + search.confirm_bases * self._confirm_ratio(epochs))

    def _confirm_ratio(self, epochs: int) -> float:
        """Return the time of a run of the confirmation relative to one of a rung."""
        longer, usual = self._expected_confirm_seconds(epochs), self._seconds(epochs)
        return longer / usual if longer and usual else 1.0

    def _too_small(self, candidates: int) -> UserError:
        """Return the error of a budget that is not sufficient for twice the finalists."""
        search, finalists = self._search, min(self._finalists, candidates)
        few = min(candidates, 2 * finalists)
        smallest = plan_rungs(few, self._epochs, finalists, None, self._price, pairs=search.pairs)
        if search.runs is not None:
            least = round(cost_of(smallest, self._price)) + self._outside_rungs
            return UserError(
                f"runs={search.runs}: too few; the confirmation of {counted(self._finalists, 'finalist')} takes "
                f"{search.confirm_runs(self._finalists)}, and the rungs of {counted(few, 'candidate')} bring the least "
                f"number to {least}"
            )
        seconds = self.expected_seconds(smallest) or 0.0
        return UserError(
            f"hours={search.hours:g}: too short; a search of {counted(few, 'candidate')} takes about {clock(seconds)} "
            "here"
        )
