"""A whole search: candidates and their costs, rungs, and the confirmation."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from yolo_attn.errors import counted
from yolo_attn.registry import list_layers
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
    from yolo_attn.layer_files import load_layers

    stream = stream or sys.stdout
    specified = Search.from_arguments(arguments)
    with trusting(specified.study.trust), restricted():
        folder = choose_folder(specified)
        specified = replace(specified, folder=replace(specified.folder, path=folder))
        modules = load_layers(specified.layer_files)
        specified = replace(specified, layers=specified.layers or _layers_of(modules))
        with opened(folder, specified):
            specified, setup = set_up(specified, runner, stream, command)
            try:
                return _Engine(specified, setup, stream).run()
            finally:
                setup.runner.close()


def _layers_of(modules: Collection[str]) -> tuple[str, ...]:
    """Return the layers that modules register."""
    return tuple(spec.name for spec in list_layers() if spec.cls.__module__ in modules)


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
        bases = len(setup.probe.base_runs)
        self._budget = Budget(specified, setup.runner.workers, setup.seconds, setup.confirm_seconds, bases)

    def run(self) -> SearchResults:
        """Execute what has no result yet, and return the results."""
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
        try:
            finalists = self._race(planned)
            return self._conclude(finalists)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; give the same command again to resume ({self._folder})") from None

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
        stored = read_record(self._folder)
        begun = [rung for rung in (stored.rungs if stored else ()) if rung.done]
        planned = self._budget.plan(len(self._standings.racing), list(map(_rung_of, begun)))
        for one in self._standings.racing[planned[0].candidates :]:
            self._standings.leave_out(one.name)
        self._note_plan(planned)
        for index, rung in enumerate(begun):
            self._rungs[index] = replace(self._rungs[index], done=rung.done, runs=rung.runs)
        return planned

    def _note_plan(self, planned: Sequence[Rung]) -> None:
        """Make records of rungs that have none, and adapt those of rungs that are planned differently."""
        records = [_record_of(number, rung) for number, rung in enumerate(planned, 1)]
        finished = sum(rung.kept is not None for rung in self._rungs)
        self._rungs = [*self._rungs[:finished], *records[finished:]]

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
            device=first_device(probe.study.device),
            threads=probe.platform.threads,
            needs=needs,
            limits=self._search.limits,
            classes=len(probe.dataset.names) or None,
            log=self._log,
        )
        self._standings.set_costs(costs)

    # --- the race ---------------------------------------------------------------------------------------------------

    def _race(self, planned: Sequence[Rung]) -> list[str]:
        """Execute the rungs, and return the finalists, the best first."""
        rungs, alive, index = list(planned), [one.name for one in self._standings.racing], 0
        while alive and index < len(rungs):
            if rungs[index].paired:
                alive = [*alive, *self._add_pairs(alive)]
            rungs[index] = replace(rungs[index], candidates=len(alive))
            is_last = index == len(rungs) - 1
            if is_last:
                self._measure(self._standings.candidates(alive), ["latency"])  # the report plots gain against it
                rungs = self._budget.grow(rungs)
            places = self._search.finalists if is_last else rungs[index + 1].candidates
            alive = self._execute(index, rungs[index], alive, places)
            index += 1
            if self._search.hours:  # runs may take another time than expected
                rungs = self._budget.plan(planned[0].candidates, rungs[:index])
                self._note_plan(rungs)
        return alive[: self._search.finalists]

    def _add_pairs(self, alive: Sequence[str]) -> list[str]:
        """Add the pairs of the best candidates, and return those that can be tried."""
        pairs = pairs_of(self._standings.candidates(alive[:PAIRED]))
        self._standings.add(pairs)
        self._screen(pairs)
        racing = {one.name for one in self._standings.racing}
        return [one.name for one in pairs if one.name in racing]

    def _execute(self, index: int, rung: Rung, alive: Sequence[str], places: int) -> list[str]:
        """Execute a rung, and return the candidates that continue, the best first."""
        study = self._search.rung_study(
            rung_folder(index + 1), self._setup.carved.data, alive, seeds=rung.seeds, epochs=rung.epochs
        )
        self._log(f"rung {index + 1}: {counted(rung.candidates, 'candidate')}, {rung.seeds} x {rung.epochs} epochs")
        executed = RungStudy(study, self._stream)
        self._rungs[index] = replace(
            self._rungs[index], candidates=len(alive), seeds=rung.seeds, epochs=rung.epochs, runs=len(executed.runs)
        )
        executed.execute(self._setup.runner, lambda ended: self._note_progress(index, ended))
        self._note_progress(index, len(executed.runs))
        plan = executed.plan
        self._budget.learn(plan.study.design.pretrain, executed.mean_seconds(plan.base_runs))
        self._budget.learn(rung.epochs, executed.mean_seconds(plan.runs))
        found = executed.results()
        self._standings.add_estimates(index + 1, found)
        kept = self._decide(index, found, places)
        self._log(describe_rung(self._rungs[index], self._standings.records))
        self._results().write()
        return kept

    def _note_progress(self, index: int, ended: int) -> None:
        """Store the number of ended runs, by which a later command knows that the rung has begun."""
        if ended == self._rungs[index].done:  # a run has started
            return
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
        record = self._record()
        record = self._confirm(record, finalists) if finalists else replace(record, finished=True)
        found = SearchResults(self._folder, record)
        found.write()
        self._log("\n" + found.table())
        self._log(f"Results: {self._folder / REPORT}, {RESULTS}, {RESULTS_CSV}")
        return found

    def _confirm(self, record: SearchRecord, finalists: Sequence[str]) -> SearchRecord:
        """Execute the confirming study, and return the record with its results."""
        info = record.info
        self._setup.runner.close()  # a runner sends the dataset's name to other machines, and here it is another one
        results = confirm(self._search, finalists, self._setup.given, self._stream, info.command)
        return replace(
            record,
            info=replace(info, weights=base_weights(results)),
            confirmed=confirmed(results, finalists),
            confirm_folder=CONFIRM,
            confirm_detectable=results.study.detectable_range,
            finished=results.exit_status == 0,
        )

    def _record(self) -> SearchRecord:
        return SearchRecord(
            self._setup.info, self._base_costs, self._standings.records, tuple(self._rungs), notes=self._setup.notes
        )

    def _results(self) -> SearchResults:
        return SearchResults(self._folder, self._record())


def _rung_of(record: RungRecord) -> Rung:
    return Rung(record.candidates, record.seeds, record.epochs, record.paired)


def _record_of(number: int, rung: Rung) -> RungRecord:
    return RungRecord(number, rung.epochs, rung.seeds, rung.candidates, paired=rung.paired, folder=rung_folder(number))
