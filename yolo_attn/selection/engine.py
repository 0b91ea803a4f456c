"""A whole search: candidates and their costs, rungs, and the confirmation."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from yolo_attn.errors import counted
from yolo_attn.registry import LayerSpec
from yolo_attn.security.trust import trusting
from yolo_attn.selection.budget import Budget
from yolo_attn.selection.candidates import Candidate, list_candidates, named_layers, pairs_of
from yolo_attn.selection.confirmation import base_weights, confirm, confirmed
from yolo_attn.selection.costs import measure_costs
from yolo_attn.selection.files import CONFIRM, COSTS, REPORT, RESULTS, RESULTS_CSV, rung_folder
from yolo_attn.selection.folder import choose_folder, opened
from yolo_attn.selection.ordering import leaderboard_order
from yolo_attn.selection.preview import describe_rung, preview_lines
from yolo_attn.selection.racing import PAIRED, Rung, median_half_width, race
from yolo_attn.selection.records import Costs, RungRecord, SearchRecord
from yolo_attn.selection.results import SearchResults
from yolo_attn.selection.rungs import RungResults, RungStudy
from yolo_attn.selection.screening import screen
from yolo_attn.selection.setup import Setup, set_up
from yolo_attn.selection.specification import Search
from yolo_attn.selection.standings import Standings
from yolo_attn.selection.stored import read_record, write_record
from yolo_attn.study.report.formats import points
from yolo_attn.study.running.runner import Runner
from yolo_attn.study.specification.device import first_device
from yolo_attn.study.specification.recipe import recipe_integer

__all__ = ["search"]


def search(
    arguments: Mapping[str, object], runner: Runner | None = None, stream: TextIO | None = None, command: str = ""
) -> SearchResults:
    """Search the layer and the site that help a base most, under limits of costs and a budget.

    The same arguments continue the search: no run is executed twice. With `plan=True` the costs of the candidates are
    measured, the plan is printed, and nothing is trained.

    Args:
        arguments: The keys of `yolo-attn search` with their values, as `yolo-attn help search` lists them, and
            Ultralytics' training keys.
        runner: Executes the runs; by default the one that `runner=` names.
        stream: Output for progress and table; standard output by default.
        command: The command line, for the report.

    Raises:
        UserError: An argument is invalid, another process works in the folder, the base cannot be trained, or the disk
            is full. Results are kept.
        KeyboardInterrupt: After the running runs were stopped; its message explains how to resume.
    """
    from yolo_attn.host.restricted import restricted
    from yolo_attn.layer_files import load_layers, registered_by

    stream = stream or sys.stdout
    specified = Search.from_arguments(arguments)
    with trusting(specified.study.trust), restricted():
        own = registered_by(load_layers(specified.layer_files))
        specified = replace(specified, layers=_with_own(specified.layers, own))
        folder = choose_folder(specified)
        specified = replace(specified, folder=replace(specified.folder, path=folder))
        with opened(folder, specified):
            specified, setup = set_up(specified, runner, stream, command)
            try:
                return _Engine(specified, setup, stream).run()
            finally:
                setup.runner.close()


def _with_own(names: tuple[str, ...], own: Sequence[LayerSpec]) -> tuple[str, ...]:
    """Return the names in `layers=` with the layers of files, unless some of these are named themselves.

    Args:
        names: The names.
        own: The layers of the files.
    """
    spellings = {spelling.casefold() for spec in own for spelling in (spec.name, *spec.aliases)}
    named = any(name.partition("[")[0].strip().casefold() in spellings for name in names)
    return names if named else (*(spec.name for spec in own), *names)


class _Engine:
    """Executes a search in its folder.

    Args:
        specified: The search.
        setup: Data, platform and runner.
        stream: The output.
    """

    def __init__(self, specified: Search, setup: Setup, stream: TextIO) -> None:
        self._search, self._setup, self._stream = specified, setup, stream
        self._folder = specified.folder.path
        self._base_costs = Costs()
        self._standings = Standings(())
        self._rungs: list[RungRecord] = []
        self._begun = 0  # rungs that an earlier command with the same budget has begun
        self._is_complete = False  # whether the stored results are those of the finished search
        self._confirm_seeds: int | None = None  # of a confirmation that has begun
        self._budget = Budget(specified, setup.runner.workers, setup.seconds, setup.confirm_seconds)

    def run(self) -> SearchResults:
        """Execute what has no result yet, and return the results."""
        try:
            return self._run()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; run the same command again to resume ({self._folder})") from None

    def _run(self) -> SearchResults:
        self._log(self._setup.carved.summary)
        planned = self._plan()
        records, confirmation = self._standings.records, self._setup.confirmation
        lines = preview_lines(self._search, planned, records, budget=self._budget, confirmation=confirmation)
        for line in lines:
            self._log(line)
        for note in self._setup.notes:
            self._log(note)
        if self._search.plan_only:
            return replace(self._results(), planned=True)
        return self._conclude(self._race(planned))

    def _log(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    # --- before training --------------------------------------------------------------------------------------------

    def _plan(self) -> list[Rung]:
        """Find the candidates and measure their costs, and return the rungs."""
        search = self._search
        found = list_candidates(search.study.base, search.layers, search.at or None, pairs=search.pairs)
        candidates = leaderboard_order(found, named_layers(search.layers))
        self._standings.add(candidates)
        self._screen(candidates)
        self._budget.limit_finalists(len(self._standings.racing))
        planned = self._stored_plan() or self._budget.plan(len(self._standings.racing))
        for one in self._standings.racing[planned[0].candidates :]:
            self._standings.leave_out(one.name)
        self._note_plan(planned)
        return planned

    def _stored_plan(self) -> list[Rung]:
        """Return the rungs of an earlier command; none if it had another budget, which changes the plan.

        With `hours=` the plan depends on measured times, so the rungs that have begun keep their sizes. Without, the
        same arguments give the same plan.
        """
        stored = read_record(self._folder)
        if stored and stored.confirm_seeds:
            self._budget.settle_seeds(stored.confirm_seeds)
        if stored is None or stored.info.budget != self._search.budget:
            return []
        self._is_complete = stored.finished
        self._rungs = [_as_planned(rung) for rung in stored.rungs]
        self._begun = sum(rung.done > 0 for rung in stored.rungs)
        if not self._search.hours or not self._begun:
            return []
        rungs = [_rung_of(rung) for rung in stored.rungs]
        self._budget.reserve_beside(rungs)
        return rungs

    def _note_plan(self, planned: Sequence[Rung]) -> None:
        """Make records of the rungs that are planned otherwise than their records say."""
        known = self._rungs
        self._rungs = [_record_of(number, rung) for number, rung in enumerate(planned, 1)]
        for index, one in enumerate(known[: len(planned)]):
            if one.kept is not None or _rung_of(one) == planned[index]:
                self._rungs[index] = one

    def _screen(self, candidates: Sequence[Candidate]) -> None:
        """Measure the costs of candidates, and drop those that cannot be built or exported or are over a limit."""
        self._measure(candidates)
        for line in screen(self._standings, self._search, self._base_costs, [one.name for one in candidates]):
            self._log(line)

    def _measure(self, candidates: Sequence[Candidate], needs: Collection[str] = ()) -> None:
        """Measure the costs of candidates.

        Args:
            candidates: The candidates.
            needs: The costs to measure besides parameters, operations and those with a limit.
        """
        probe = self._setup.probe
        self._base_costs, costs = measure_costs(
            self._search.study.base,
            candidates,
            self._folder / COSTS,
            imgsz=recipe_integer(probe.study.train, "imgsz"),
            device=self._setup.info.latency_device or first_device(probe.study.device),
            threads=probe.platform.threads,
            needs=needs,
            limits=self._search.limits,
            classes=probe.classes or None,
            log=self._log,
        )
        self._standings.set_costs(costs)

    # --- the race ---------------------------------------------------------------------------------------------------

    def _race(self, planned: list[Rung]) -> list[str]:
        """Execute the rungs, and return the finalists, the best first."""
        rungs, alive, index = planned, [one.name for one in self._standings.racing], 0
        while alive and index < len(rungs):
            rungs = self._prepare(index, rungs, alive)
            found = self._execute(index, rungs[index], alive)
            rungs = self._plan_rest(index, rungs, len(found.names))
            is_last = index == len(rungs) - 1
            alive = self._decide(index, found, self._search.finalists if is_last else rungs[index + 1].candidates)
            self._note_plan(rungs)
            self._log(describe_rung(self._rungs[index], self._standings.records))
            self._write()
            index += 1
        self._measure(self._standings.candidates(alive), ["latency"])
        return alive

    def _prepare(self, index: int, rungs: Sequence[Rung], alive: list[str]) -> list[Rung]:
        """Complete the candidates of a rung, and return the rungs with those that it has.

        Args:
            index: The rung.
            rungs: The rungs.
            alive: The candidates that continue, to which pairs are added.
        """
        pairs = self._add_pairs(alive) if rungs[index].pairs else []
        this = replace(rungs[index], candidates=len(alive), pairs=len(pairs))
        alive += pairs
        rungs = [*rungs[:index], this, *rungs[index + 1 :]]
        if index < len(rungs) - 1:
            return rungs
        self._measure(self._standings.candidates(alive), ["latency"])  # the report plots gain against it
        return rungs if self._has_begun(index) else self._budget.grow(rungs)

    def _has_begun(self, index: int) -> bool:
        """Whether an earlier command has begun a rung with `hours=`, whose size then remains."""
        return self._search.hours is not None and index < self._begun

    def _plan_rest(self, index: int, rungs: list[Rung], left: int) -> list[Rung]:
        """Plan the rungs after one again with `hours=`, because runs take another time than was expected.

        Args:
            index: The rung.
            rungs: The rungs.
            left: Number of its candidates that have a result.
        """
        is_last = index == len(rungs) - 1
        if not self._search.hours or is_last or not left or self._has_begun(index + 1):
            return rungs
        return self._budget.plan_rest(rungs[: index + 1], min(left, rungs[index + 1].candidates))

    def _add_pairs(self, alive: Sequence[str]) -> list[str]:
        """Add the pairs of the best candidates, and return those that can be tried."""
        pairs = pairs_of(self._standings.candidates(alive[:PAIRED]))
        self._standings.add(pairs)
        self._screen(pairs)
        racing = {one.name for one in self._standings.racing}
        return [one.name for one in pairs if one.name in racing]

    def _execute(self, index: int, rung: Rung, names: Sequence[str]) -> RungResults:
        """Execute a rung, and return its measurements."""
        study = self._search.rung_study(
            rung_folder(index + 1), self._setup.carved.data, names, seeds=rung.seeds, epochs=rung.epochs
        )
        size = f"{counted(rung.seeds, 'seed')} x {counted(rung.epochs, 'epoch')}"
        self._log(f"rung {index + 1}: {counted(len(names), 'candidate')}, {size}")
        executed = RungStudy(study, self._stream)
        self._rungs[index] = replace(
            self._rungs[index],
            candidates=len(names),
            pairs=rung.pairs,
            seeds=rung.seeds,
            epochs=rung.epochs,
            runs=len(executed.runs),
        )
        executed.execute(self._setup.runner, lambda ended: self._note_progress(index, ended))
        self._rungs[index] = replace(self._rungs[index], done=len(executed.runs))
        plan = executed.plan
        self._budget.learn(plan.study.design.pretrain, executed.mean_seconds(plan.base_runs))
        self._budget.learn(rung.epochs, executed.mean_seconds(plan.runs))
        found = executed.results()
        self._standings.add_estimates(index + 1, found)
        return found

    def _note_progress(self, index: int, ended: int) -> None:
        """Store the number of ended runs, by which a later command knows that the rung has begun."""
        self._is_complete = False
        if ended > self._rungs[index].done:
            self._rungs[index] = replace(self._rungs[index], done=ended)
            write_record(self._folder, self._record())

    def _decide(self, index: int, found: RungResults, places: int) -> list[str]:
        """Decide which candidates continue after a rung."""
        number, finalists = index + 1, self._search.finalists
        record = replace(self._rungs[index], failed=len(found.errors), base=found.base, kept=0)
        if found.names:
            decision = race(found.measured, places=places, finalists=finalists)
            kept, worse, beyond = (
                [found.names[column] for column in columns]
                for columns in (decision.kept, decision.worse, decision.beyond)
            )
            self._standings.drop_worse(worse, number, finalists)
            self._standings.drop_beyond(beyond, number, places)
            record = replace(
                record,
                kept=len(kept),
                worse=len(worse),
                beyond=len(beyond),
                sd_training=decision.sd_training,
                resolution=median_half_width(found.differences),
            )
        else:
            kept = []
        self._rungs[index] = record
        return kept

    # --- the end ----------------------------------------------------------------------------------------------------

    def _conclude(self, finalists: Sequence[str]) -> SearchResults:
        """Confirm the finalists, and write and print the results."""
        self._standings.choose(finalists)
        if finalists:
            self._choose_seeds(self._rungs[-1].sd_training)
        self._write()
        record = self._record()
        record = self._confirm(record, finalists) if finalists else replace(record, finished=True)
        found = SearchResults(self._folder, record)
        found.write()
        self._log("\n" + found.table())
        self._log(f"Results: {self._folder / REPORT}, {RESULTS}, {RESULTS_CSV}")
        return found

    def _choose_seeds(self, sd_training: float | None) -> None:
        """Choose the number of seeds of the confirmation by the noise of training in the last rung."""
        self._budget.choose_seeds(sd_training)
        self._confirm_seeds = self._budget.confirm_seeds
        noise = "" if sd_training is None else f"; differences vary by {points(sd_training)} points from seed to seed"
        self._log(f"confirmation: {counted(self._confirm_seeds, 'seed')}{noise}")

    def _confirm(self, record: SearchRecord, finalists: Sequence[str]) -> SearchRecord:
        """Execute the confirming study, and return the record with its results."""
        info = record.info
        self._setup.runner.close()  # a runner sends the dataset's name to other machines, and here it is another one
        seeds = self._budget.confirm_seeds
        results = confirm(
            self._search, finalists, seeds, given=self._setup.given, stream=self._stream, command=info.command
        )
        return replace(
            record,
            info=replace(info, weights=base_weights(results)),
            confirmed=confirmed(results, finalists),
            confirm_folder=CONFIRM,
            confirm_detectable=results.study.detectable_range,
            finished=results.is_complete,
        )

    def _record(self) -> SearchRecord:
        return SearchRecord(
            self._setup.info,
            self._base_costs,
            self._standings.records,
            tuple(self._rungs),
            confirm_seeds=self._confirm_seeds,
            notes=self._setup.notes,
        )

    def _results(self) -> SearchResults:
        return SearchResults(self._folder, self._record())

    def _write(self) -> None:
        """Write the results; those of a finished search remain until a run changes them."""
        if not self._is_complete:
            self._results().write()


def _rung_of(record: RungRecord) -> Rung:
    return Rung(record.candidates - record.pairs, record.seeds, record.epochs, record.pairs)


def _record_of(number: int, rung: Rung) -> RungRecord:
    size = rung.candidates + rung.pairs
    return RungRecord(number, rung.epochs, rung.seeds, size, folder=rung_folder(number), pairs=rung.pairs)


def _as_planned(record: RungRecord) -> RungRecord:
    """Return the record of a rung without its end, which is decided again from its runs."""
    return replace(_record_of(record.number, _rung_of(record)), runs=record.runs, done=record.done)
