"""Cores are counted by affinity and cgroup; the cgroup files are of both versions, as kernels write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sovits_service.cores import available_cores, stage_threads


@pytest.fixture(autouse=True)
def affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def write(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    for name, content in files.items():
        (root / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys" / name).write_text(content)
    return root / "sys", root / "sys/own"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 16),
        ({"own": "0::/pod/container\n", "pod/container/cpu.max": "400000 100000\n"}, 4),
        ({"own": "0::/pod/container\n", "pod/cpu.max": "300000 100000\n", "pod/container/cpu.max": "max 100000\n"}, 3),
        ({"own": "0::/../outside\n", "cpu.max": "200000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        (
            {
                "own": "5:cpu,cpuacct:/docker/x\n3:memory:/docker/y\n",
                "cpu/docker/x/cpu.cfs_quota_us": "500000\n",
                "cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
        ({"cpu.max": "not a number\n"}, 16),
        ({"cpu.max": "200000 0\n"}, 16),
    ],
)
def test_the_smallest_limit_holds(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_cores(*write(tmp_path, files)) == expected


def test_affinity_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert available_cores(*write(tmp_path, {"cpu.max": "800000 100000\n"})) == 1


def test_this_machine_has_a_core() -> None:
    assert available_cores() >= 1


def test_stages_share_the_cores() -> None:
    assert [stage_threads(cores) for cores in (1, 2, 3, 4, 8)] == [1, 1, 1, 2, 4]
