"""The states of a study's runs: which are done, wait or have failed, and what the finished ones show about others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from yolo_attn.errors import UserError
from yolo_attn.study.job import RunState
from yolo_attn.study.planning import Plan
from yolo_attn.study.results.records import ENDED, UNDONE
from yolo_attn.study.running.run import Run
from yolo_attn.study.running.runner import Outcome
from yolo_attn.study.store import Store
from yolo_attn.study.times import RunTimes, times_of

__all__ = ["RunStates"]


class RunStates:
    """The states of a study's runs.

    Args:
        plan: The plan.
        store: The store, opened.
    """

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan, self._store = plan, store
        self._states: dict[str, RunState] = {}  # by the runs' keys
        self._checked: set[str] = set()  # keys of bases whose weights are those that finished runs started from

    def __getitem__(self, run: Run) -> RunState:
        """Return the state of a prepared run."""
        return self._states[run.key]

    # --- preparation ------------------------------------------------------------------------------------------------

    def prepare(self, runs: Iterable[Run]) -> None:
        """Create the folders of runs and read their results; failed runs wait again if they are retried."""
        for run in runs:
            if run.key in self._states:
                continue
            self._store.prepare(run, self._plan.settings)
            result = self._store.result(run)
            if result is not None and result.status == "failed" and self._plan.study.retry:
                self._store.remove_result(run)
            self._read(run)

    def adopt(self, runs: Iterable[Run]) -> None:
        """Copy the results of waiting runs that this user has finished in other studies of the project."""
        for run in runs:
            other = self._store.find_elsewhere(run) if self.is_waiting(run) else None
            if other and other.own and self._store.adopt(run, other):
                self._read(run)

    def prepare_bases(self, runs: Sequence[Run]) -> list[str]:
        """Find the bases that the waiting ones of some runs start from, here or in other studies.

        Returns:
            Lines about bases of other studies that were copied or not.
        """
        notices = []
        for base in self._bases_of(runs, "done"):
            if not self._store.has_weights(base):  # they were deleted, and now more runs start from them
                self._store.remove_result(base)
                self._read(base)
        for base in self._bases_of(runs, "waiting"):
            name = f"{base.arm.name} seed {base.seed}"
            other = self._store.find_elsewhere(base)
            if other and not other.own:
                notices.append(
                    f"{name}: not copied from {other.folder}: no valid seal of this user (trained by another user, on "
                    "another machine or with an early version, or changed since)"
                )
            elif other and self._store.adopt(base, other):
                notices.append(f"{name}: copied from {other.folder}")
                self._read(base)
        self.end_baseless(runs)
        return notices

    def _bases_of(self, runs: Sequence[Run], status: str) -> list[Run]:
        """Return the bases with a status that the waiting ones of some runs start from."""
        starts = {run.base.key for run in runs if run.base and self.is_waiting(run)}
        return [base for base in self._plan.base_runs if base.key in starts and self[base].status == status]

    def end_baseless(self, runs: Sequence[Run]) -> None:
        """Set the state of the waiting runs whose base could not be trained."""
        for run in runs:
            base = self[run.base] if run.base else None
            if base and base.status in UNDONE and self.is_waiting(run):
                problem = "failed" if base.status == "failed" else "was interrupted"
                error = f"the base's training {problem}: {base.error}"
                self._states[run.key] = replace(self._state(run, base.status, error), folder=None)

    # --- changes during the study -----------------------------------------------------------------------------------

    def start(self, run: Run) -> None:
        """Set the state of a run that starts.

        Raises:
            UserError: It would start from other weights than the finished runs of its base.
        """
        self._check_base(run)
        self._states[run.key] = self._state(run, "running")

    def _check_base(self, run: Run) -> None:
        """Check that a run starts from the same weights as the finished runs of its base.

        A base whose weights were deleted is trained again, and only on a CPU with exactly the same result.

        Raises:
            UserError: The weights are others.
        """
        from yolo_attn.host.checkpoint import weights_hash

        base = run.base
        if base is None or base.key in self._checked:
            return
        others = [self._states.get(other.key) for other in self._plan.runs if other.base and other.base.key == base.key]
        starts = {state.measurements.start for state in others if state and state.measurements.start}
        if starts and starts != {weights_hash(self._store.weights(base))}:
            raise UserError(
                f"{self._store.weights(base)}: other weights than those that the finished runs started from, because "
                "the base was trained again and this training is not repeatable on this device; give another name= "
                "to train all arms from the new weights"
            )
        self._checked.add(base.key)

    def finish(self, run: Run, outcome: Outcome) -> None:
        """Set the state of a run that has ended."""
        self._states[run.key] = self._state(run, "interrupted", outcome.reason)
        if outcome.finished:
            self._read(run, self[run])

    def stop(self) -> None:
        """Set the states of the running runs, which were stopped."""
        for key, state in self._states.items():
            if state.status == "running":
                self._states[key] = replace(state, status="waiting")

    def release_interrupted(self) -> bool:
        """Let the runs that were interrupted wait again, and return whether there are any."""
        interrupted = [run for run in self.prepared if self[run].status == "interrupted"]
        for run in interrupted:
            self._states[run.key] = self._state(run, "waiting")
        return bool(interrupted)

    def _read(self, run: Run, otherwise: RunState | None = None) -> None:
        """Read the stored result of a run.

        Args:
            run: The run.
            otherwise: Its state without a result; by default it waits.
        """
        result = self._store.result(run)
        if result is None:
            self._states[run.key] = otherwise or self._state(run, "waiting")
        else:
            self._states[run.key] = replace(self._state(run, result.status, result.error), result=result)

    def _state(self, run: Run, status: str, error: str | None = None) -> RunState:
        return RunState(run.seed, status, self._store.relative_path(run), error, base=run.base_number)

    # --- questions --------------------------------------------------------------------------------------------------

    @property
    def prepared(self) -> list[Run]:
        """The runs that have a folder."""
        return [run for run in self._plan.every_run if run.key in self._states]

    @property
    def ended(self) -> set[str]:
        """The keys of the runs that are done or have failed."""
        return {key for key, state in self._states.items() if state.status in ENDED}

    @property
    def done(self) -> list[Run]:
        """The runs that are done."""
        return [run for run in self.prepared if self[run].status == "done"]

    def is_waiting(self, run: Run) -> bool:
        """Whether a run waits."""
        return self[run].status == "waiting"

    def has_failed(self, run: Run) -> bool:
        """Whether a run was executed and has failed."""
        return self[run].status == "failed" and self[run].result is not None

    def waiting(self, runs: Sequence[Run]) -> list[Run]:
        """Return the waiting ones of some runs, after the bases that have to be trained for them."""
        return [*self._bases_of(runs, "waiting"), *filter(self.is_waiting, runs)]

    def ready(self, runs: Iterable[Run]) -> list[Run]:
        """Return those of some runs that start from nothing or from a trained base."""
        return [run for run in runs if not run.base or self[run.base].status == "done"]

    def times(self) -> RunTimes:
        """Return the times of the done runs."""
        return times_of(self.prepared, {key: state.result for key, state in self._states.items()})

    def memory(self) -> dict[str, float]:
        """Return the largest memory of a finished run in MiB, by kind."""
        largest: dict[str, float] = {}
        for state in self._states.values():
            for kind, amount in (state.measurements.memory_mib or {}).items():
                if amount is not None:
                    largest[kind] = max(largest.get(kind, 0.0), amount)
        return largest
