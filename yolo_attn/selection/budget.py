"""The budget of a search: the rungs that fit into a number of runs or into a time, and the seeds of the confirmation.

The confirmation has at least five seeds, and more where the runs of the rungs are so noisy that five would miss a
difference of the margin. Only the noise decides, not the differences, so the error rate of the verdicts stays. Up to a
quarter of the budget is reserved for it, as long as no candidate has to be left out or trained for fewer epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from yolo_attn.errors import UserError, counted
from yolo_attn.selection.racing import Rung, cost_of, plan_rungs, with_more_seeds
from yolo_attn.selection.specification import Search
from yolo_attn.stats.power import minimum_detectable
from yolo_attn.study.running.progress import clock
from yolo_attn.study.specification.recipe import recipe_integer

__all__ = ["ERROR_RATE", "Budget", "seeds_needed"]

ERROR_RATE = 0.05
"""Of all verdicts of the confirmation together."""
_RESERVED = 0.25  # most of the budget that the confirmation takes, unless its fewest seeds take more


def seeds_needed(counts: Sequence[int], sd_training: float, margin: float, finalists: int) -> int:
    """Return the fewest seeds with which the noise of training does not hide a difference of the margin.

    The images add noise that no seed removes, so they are not taken into account.

    Args:
        counts: The possible numbers of seeds, growing; the last one is returned if none suffices.
        sd_training: Standard deviation over seeds of the difference to the base.
        margin: The difference that a study finds with a probability of 80 %.
        finalists: Number of comparisons.
    """
    for count in counts:
        if minimum_detectable(count, sd_training, 0.0, alpha=ERROR_RATE / finalists) <= margin:
            return count
    return counts[-1]


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
        self._seeds = search.seed_counts[0]
        self._is_settled = False  # whether the confirmation has begun

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
        return found if self._is_settled else self._reserve_seeds(found)

    def _reserve_seeds(self, planned: list[Rung]) -> list[Rung]:
        """Reserve seeds for the confirmation, and return the rungs that the rest of the budget allows.

        Args:
            planned: The rungs with the fewest seeds of the confirmation.
        """
        counts, budget = self._search.seed_counts, self._of_search()
        for count in reversed(counts[1:]):
            if budget is not None and self._confirm_cost(count) > _RESERVED * budget:
                continue
            self._seeds = count
            found = self._rungs(planned[0].candidates, ())
            if found and (found[0].candidates, found[0].epochs) == (planned[0].candidates, planned[0].epochs):
                return found
        self._seeds = counts[0]
        return planned

    def reserve_beside(self, rungs: Sequence[Rung]) -> None:
        """Reserve what rungs that are planned leave of the budget for the seeds of the confirmation."""
        if self._is_settled:
            return
        budget, cost = self._of_search(), cost_of(rungs, self._price)
        counts = self._search.seed_counts
        left = [n for n in counts if budget is None or cost + self._confirm_cost(n) <= budget]
        self._seeds = max(left, default=counts[0])

    @property
    def finalists(self) -> int:
        """The largest number of candidates that are confirmed."""
        return self._finalists

    def limit_finalists(self, candidates: int) -> None:
        """Take into account that there are no more finalists than candidates and pairs of them."""
        pairs = candidates * (candidates - 1) // 2 if self._search.pairs else 0
        self._finalists = min(self._search.finalists, candidates + pairs)

    @property
    def confirm_seeds(self) -> int:
        """The number of seeds of the confirmation; before the last rung has ended, the most that are reserved."""
        return self._seeds

    def settle_seeds(self, count: int) -> None:
        """Take the number of seeds of a confirmation that has begun, if it is not given."""
        if self._search.seeds is None:
            self._seeds, self._is_settled = count, True

    def choose_seeds(self, sd_training: float | None) -> None:
        """Choose the number of seeds of the confirmation.

        Args:
            sd_training: Standard deviation over seeds of a difference, as the last rung has measured it; None, with
                which the fewest are taken, if it is unknown.
        """
        if not self._is_settled:
            self._seeds = self._search.seed_counts[0] if sd_training is None else self.seeds_for(sd_training)

    def seeds_for(self, sd_training: float) -> int:
        """Return the seeds of the confirmation that some noise of training requires, of those that are reserved."""
        counts = [count for count in self._search.seed_counts if count <= self._seeds]
        return seeds_needed(counts, sd_training, self._search.study.design.margin / 100, self._finalists)

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
        return search.confirm_runs(self._finalists, self._seeds) + search.rung_bases + search.confirm_bases

    def expected_seconds(self, rungs: Sequence[Rung]) -> float | None:
        """Return the expected time of the whole search; None if it is unknown."""
        if self._seconds(self._epochs) is None and self._search.hours is None:
            return None
        confirmation = self._search.confirm_runs(self._finalists, self._seeds) * self._confirm_run_seconds()
        return self._base_seconds() + (cost_of(rungs, self._run_seconds) + confirmation) / self._workers

    def _of_rungs(self) -> float | None:
        """Return what the rungs may cost; None without a budget."""
        budget = self._of_search()
        return None if budget is None else budget - self._confirm_cost(self._seeds)

    def _of_search(self) -> float | None:
        """Return what the rungs and the confirmation may cost; None without a budget."""
        search = self._search
        if search.runs is not None:
            return search.runs - search.rung_bases - search.confirm_bases
        if search.hours is None:
            return None
        return (3600 * search.hours - self._base_seconds()) * self._workers

    def _confirm_cost(self, seeds: int) -> float:
        """Return the cost of the confirmation with a number of seeds."""
        runs = self._search.confirm_runs(self._finalists, seeds)
        return runs * (1.0 if self._search.hours is None else self._confirm_run_seconds())

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

    def _confirm_run_seconds(self) -> float:
        """Return the seconds of a run of the confirmation."""
        return self._run_seconds(self._epochs) * self._confirm_ratio(self._epochs)

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
                f"{search.confirm_runs(self._finalists, self._seeds)}, and the rungs of "
                f"{counted(few, 'candidate')} bring the least number to {least}"
            )
        seconds = self.expected_seconds(smallest) or 0.0
        return UserError(
            f"hours={search.hours:g}: too short; a search of {counted(few, 'candidate')} takes about {clock(seconds)} "
            "here"
        )
