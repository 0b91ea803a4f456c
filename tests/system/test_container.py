"""Limits of control groups, in the files of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_attn.system import container
from yolo_attn.system.container import cpu_limit, free_memory

GIB = 2**30


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(container, "_ROOT", tmp_path)
    monkeypatch.setattr(container, "_OWN", tmp_path / "own")
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_without_control_groups_there_is_no_limit(root: Path) -> None:
    assert (cpu_limit(), free_memory()) == (None, None)


def test_the_tightest_limit_of_a_job_counts(root: Path) -> None:
    stat = f"anon 5\ninactive_file {GIB}\n"
    write(root, {"own": "0::/slurm/job_1/step_0\n"})
    write(root, {"slurm/job_1/step_0/memory.max": "max\n", "slurm/job_1/step_0/memory.current": "5\n"})
    write(root, {"slurm/job_1/memory.max": f"{8 * GIB}\n", "slurm/job_1/memory.current": f"{3 * GIB}\n"})
    write(root, {"slurm/job_1/memory.stat": stat, "slurm/job_1/cpu.max": "150000 100000\n"})
    write(root, {"slurm/memory.max": f"{64 * GIB}\n", "slurm/memory.current": f"{9 * GIB}\n"})
    write(root, {"slurm/cpu.max": "max 100000\n"})
    assert (cpu_limit(), free_memory()) == (1.5, 6 * GIB)


def test_a_container_sees_its_limits_at_the_root(root: Path) -> None:
    write(root, {"own": "0::/../hidden\n", "cpu.max": "200000 100000", "memory.max": "100", "memory.current": "130"})
    assert (cpu_limit(), free_memory()) == (2.0, 0)


def test_the_first_version(root: Path) -> None:
    write(root, {"own": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n"})
    write(root, {"cpu/docker/abc/cpu.cfs_quota_us": "400000", "cpu/docker/abc/cpu.cfs_period_us": "100000"})
    write(root, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"})
    write(root, {"memory/docker/abc/memory.limit_in_bytes": f"{4 * GIB}"})
    write(root, {"memory/docker/abc/memory.usage_in_bytes": f"{GIB}"})
    write(root, {"memory/docker/abc/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}"})
    assert (cpu_limit(), free_memory()) == (4.0, 3.5 * GIB)
