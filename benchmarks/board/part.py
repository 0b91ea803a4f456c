"""One part of the leaderboard: an ordinary study of some placements, and the rows that follow from it."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from benchmarks.board.placements import code_of
from yolo_attn.errors import UserError
from yolo_attn.leaderboard import Row, Setup
from yolo_attn.selection.candidates import Candidate
from yolo_attn.study.comparison import Results
from yolo_attn.study.engine import run_plan
from yolo_attn.study.files import RESULT
from yolo_attn.study.planning import Plan, make_plan
from yolo_attn.study.results.estimates import RunSource, pair_difference
from yolo_attn.study.results.paths import dataset_name, without_folders
from yolo_attn.study.results.records import ArmSummary, RunSummary
from yolo_attn.study.running.runner import Runner, make_runner
from yolo_attn.study.specification.study import Study
from yolo_attn.study.states import RunStates
from yolo_attn.study.store import Store
from yolo_attn.system.files import read_json

__all__ = ["Part"]

_MACHINE_KEYS = ("project", "name", "workers", "device", "threads", "retry", "exist_ok")  # not in the command of a row


class Part:
    """A study of some placements.

    Args:
        arguments: The keys of `compare`, without variants and name.
        placements: The placements.
        stream: Output.
        runner: Executes the runs; by default the one that `runner=` names.
        replaced: The rows that it measures again, whose runs are not taken from its folder.

    Raises:
        UserError: An argument is invalid, or the study's folder is damaged or locked.
    """

    def __init__(
        self,
        arguments: Mapping[str, object],
        placements: Sequence[Candidate],
        stream: TextIO,
        runner: Runner | None = None,
        replaced: Sequence[Row] = (),
    ) -> None:
        self._arguments, self._placements, self._stream, self._runner = arguments, placements, stream, runner
        names = [one.name for one in placements]
        codes = [code_of(one.layers[0]) for one in placements]
        before = [f"{row.date} {row.ended}" for row in replaced]
        given = {"controls": [], **arguments, "variants": names}
        self.study = Study.from_arguments({**given, "name": _name_of(names, [self._command(names), *codes, *before])})

    @cached_property
    def plan(self) -> Plan:
        """The planned study."""
        return make_plan(self.study, self._store(), self._stream)

    def _store(self) -> Store:
        return Store(self.study.folder.path)

    @property
    def setup(self) -> Setup:
        """What its rows have in common with those of other parts; the number of images is known when it has ended."""
        info, plan = self.plan.info(len(self.study.seeds), ""), self.plan
        return Setup(
            data=dataset_name(self.study.data),
            digest=plan.dataset.digest,
            task=plan.settings.task,
            metric=info.metrics[0],
            base=Path(self.study.base).name,
            weights=None if plan.bases else plan.runs[0].inputs.weights,
            recipe=info.recipe,
            pretraining=info.pretraining,
            lr_attention=info.lr_attention,
            groups=info.groups,
            seeds=tuple(self.study.seeds),
            device=plan.platform.device,
        )

    def execute(self) -> tuple[list[Row], int | None]:
        """Execute what has no result yet, and return the rows of the placements that ended, and the number of images.

        Runs of the base that other parts have finished are copied. Those of layers are not: rows that are measured
        again are trained again.

        Raises:
            UserError: The base cannot be trained, or as `compare`.
            KeyboardInterrupt: After the running runs were stopped.
        """
        runner = self._runner or make_runner(self.plan.study, self.plan.platform, self._stream)
        try:
            self._copy_base()
            results = run_plan(self.plan, self._store(), runner, self._stream, self._command(self.study.variants))
        finally:
            runner.close()
        return self._rows(results), results.study.info.group_count or results.study.info.images

    @property
    def workers(self) -> int:
        """The number of runs at once."""
        if self._runner:
            return self._runner.workers
        runner = make_runner(self.plan.study, self.plan.platform, self._stream)
        try:
            return runner.workers
        finally:
            runner.close()

    def _copy_base(self) -> None:
        plan, store = self.plan, self._store()
        with store.opened(plan.study, plan.platform, plan.sources):
            states = RunStates(plan, store)
            states.prepare(plan.every_run)
            states.adopt([*plan.base_runs, *plan.runs_of(plan.arms[0])])

    def _command(self, variants: Sequence[str]) -> str:
        """Return the command of a study of some placements."""
        given = {key: value for key, value in self._arguments.items() if key not in _MACHINE_KEYS}
        words = {**given, "variants": ",".join(variants)}
        return without_folders(" ".join(["yolo-attn compare", *(shlex.quote(f"{k}={v}") for k, v in words.items())]))

    def _rows(self, results: Results) -> list[Row]:
        """Return the rows of a study; none if the runs of the base were interrupted.

        Raises:
            UserError: A run of the base has failed.
        """
        base, arms = results.study.baseline, {arm.name: arm for arm in results.study.variants}
        if base.failed:
            raise UserError(f"the training of the base failed, seed {base.failed[0].seed}: {base.failed[0].error}")
        if len(base.done) < len(self.study.seeds):
            return []
        found = (self._row(results, one, arms[one.name]) for one in self._placements)
        return [row for row in found if row]

    def _row(self, results: Results, one: Candidate, arm: ArmSummary) -> Row | None:
        """Return the row of a placement; None if some run has neither a result nor failed."""
        about: dict[str, Any] = {
            "layer": one.layers[0],
            "site": one.sites[0],
            "variant": one.name,
            "code": code_of(one.layers[0]),
            "command": self._command([one.name]),
            "threads": self.plan.platform.threads,
            "versions": dict(self.plan.platform.versions),
            "date": datetime.now(timezone.utc).date().isoformat(),
            "ended": datetime.now(timezone.utc).isoformat(),
        }
        problem = next((planned.error for planned in self.plan.arms if planned.name == one.name), None)
        if problem:
            return Row(**about, problem=problem)
        if arm.failed:
            return Row(**about, problem=f"seed {arm.failed[0].seed} failed: {arm.failed[0].error}")
        if len(arm.done) < len(self.study.seeds):
            return None
        return Row(**about, **self._estimate(results, arm), **_costs(results, arm))

    def _estimate(self, results: Results, arm: ArmSummary) -> dict[str, Any]:
        base = results.study.baseline
        found = pair_difference(self._sources(results, arm), self._sources(results, base))
        if found is None:
            return {"problem": f"{arm.main} is undefined"}
        unknown = any(run.learnt is None for run in (*arm.done, *base.done))
        return {
            "mean": found.mean,
            "error": found.error,
            "share": found.share,
            "training_df": found.training_df,
            "image_df": found.image_df if found.error is not None else None,
            "seeds": found.seeds,
            "sd_training": found.sd_training,
            "se_images": found.se_images,
            "values": _values(arm, base),
            "learnt": unknown or any(run.learnt for run in (*arm.done, *base.done)),
        }

    def _sources(self, results: Results, arm: ArmSummary) -> tuple[RunSource, ...]:
        info = results.study.info
        return tuple(
            RunSource.of(results.folder / (run.folder or ""), run.seed, info.task, groups=info.groups)
            for run in arm.done
        )


def _values(arm: ArmSummary, base: ArmSummary) -> list[float]:
    """Return the difference of each seed."""
    known = {run.seed: run.metrics[arm.main] for run in base.done}
    return [round(run.metrics[arm.main] - known[run.seed], 6) for run in arm.done]


def _costs(results: Results, arm: ArmSummary) -> dict[str, Any]:
    """Return the costs of an arm beyond those of the base, and where they were measured."""
    base = results.study.baseline
    stored = [_result(results.folder, run) for run in arm.done]
    environment = next((found for one in stored if (found := one.get("environment"))), {})
    latency = arm.latency_ms.median / base.latency_ms.median if arm.latency_ms and base.latency_ms else None
    seconds = [one.get("wall_seconds") or run.seconds or 0.0 for one, run in zip(stored, arm.done, strict=True)]
    return {
        "params": None if arm.params is None or base.params is None else arm.params - base.params,
        "gflops": None if arm.gflops is None or base.gflops is None else round(arm.gflops - base.gflops, 4),
        "latency": None if latency is None else round(latency, 4),
        "seconds": round(fmean(seconds), 1),
        "start": stored[0].get("start"),
        "hardware": environment.get("gpu")
        or (arm.latency_ms.processor if arm.latency_ms else None)
        or environment.get("platform", ""),
    }


def _result(folder: Path, run: RunSummary) -> dict[str, Any]:
    return read_json(folder / (run.folder or "") / RESULT)


def _name_of(variants: Sequence[str], rest: Sequence[str]) -> str:
    """Return the name of a part's study: the same placements, code, data and recipe continue the same study.

    Args:
        variants: The placements.
        rest: The command, the hashes of the layers' code, and the rows that are replaced.
    """
    first = re.sub(r"[^\w.-]+", "-", variants[0].replace("[init=identity]", ""))
    digest = hashlib.sha256(" ".join(rest).encode()).hexdigest()
    return f"{first}-{len(variants)}-{digest[:6]}"
