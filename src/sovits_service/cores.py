"""How many processor cores this process may use, by its affinity and its cgroup quota."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def available_cores(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """The cores that the process may use, at least 1; part of a core counts as one.

    Args:
        cgroups: where the cgroup file system is mounted, of version 1 or 2.
        own_cgroup: the file that says which of them are the process's.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(cgroups, own_cgroup) if (quota := _quota_cores(folder)) is not None]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas)]))


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads an operator uses, in work that has the cores to itself and in work beside other work.

    Attributes:
        cores: that the process may use.
    """

    alone: int
    beside: int
    cores: int


def choose_threads(wanted: int) -> Threads | None:
    """So many as are wanted, everywhere; with 0 by the cores that there are; None leaves it to OMP_NUM_THREADS."""
    cores = available_cores()
    if wanted:
        return Threads(wanted, wanted, cores)
    return None if os.environ.get("OMP_NUM_THREADS") else Threads(cores, stage_threads(cores), cores)


def stage_threads(cores: int) -> int:
    """Threads for each operator where two stages of the engine, decoding and waves, compute side by side."""
    return max(1, cores // 2)


def _folders(cgroups: Path, own_cgroup: Path) -> list[Path]:
    """The process's own cgroup and those above it, whose quotas hold too; of each hierarchy that has processor time."""
    try:
        lines = own_cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    folders = {cgroups, cgroups / "cpu"}  # within a container its own cgroup is often mounted as the root
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = cgroups / "cpu" if controllers else cgroups
        below = Path(path.lstrip("/"))
        folders.update(mount / part for part in (below, *below.parents))
    return sorted(folders)


def _quota_cores(folder: Path) -> float | None:
    """Processor time that a cgroup may take in each unit of time; None without a limit."""
    try:
        if (folder / "cpu.max").is_file():  # version 2: "200000 100000" or "max 100000"
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
