"""A search on a Ray cluster of two nodes on this machine, with one loopback address each."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any, TextIO

import pytest

from tests.selection.test_engine import FakeSearch, fake  # noqa: F401 (fixture)
from tests.study.conftest import FAKE_WORKER, fake_study  # noqa: F401 (fixture)
from tests.study.running.test_ray import HEAD, PORT, Cluster, cluster  # noqa: F401 (fixture)
from yolo_attn.selection import confirmation, setup
from yolo_attn.selection.engine import search
from yolo_attn.study.job import Platform
from yolo_attn.study.running.ray import RayRunner
from yolo_attn.study.specification.study import Study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs yolo-attn[ray]"),
]


def test_a_search_on_a_cluster_finds_the_same(
    fake: FakeSearch,  # noqa: F811
    cluster: Cluster,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets = []

    def make_runner(study: Study, platform: Platform, stream: TextIO) -> RayRunner:
        datasets.append(study.data)
        return RayRunner(f"{HEAD}:{PORT}", "cpu", 1, study.data, (sys.executable, str(FAKE_WORKER)))

    here = fake.search(seeds=3, name="here")
    for module in (setup, confirmation):
        monkeypatch.setattr(module, "make_runner", make_runner)
    given: dict[str, Any] = {"base": "yolo11n.yaml", "epochs": 3, "threads": 1, "device": "cpu", "seeds": 3}
    far = search({**given, "name": "s", "data": "digits", "runner": "ray"}, None, fake.stream)
    assert datasets == ["split.yaml", "digits"]  # the runs of the rungs and of the confirmation have different data
    assert far.record.confirmed == here.record.confirmed
    assert [one.estimates for one in far.record.candidates] == [one.estimates for one in here.record.candidates]
    results = [json.loads(path.read_text()) for path in fake.folder.glob("*/runs/*/result.json")]
    assert len({result["node"] for result in results}) == 2
