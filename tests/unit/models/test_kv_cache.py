"""The cache takes the memory that sequences use, and gives it back."""

import gc
import sys
from pathlib import Path

import pytest
import torch

from sovits_service.models.kv_cache import KvCache

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
FULL_SIZE = {"layers": 24, "slots": 16, "heads": 16, "capacity_tokens": 2000, "head_dim": 32}


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def new_cache(**sizes: int) -> KvCache:
    return KvCache(**{**FULL_SIZE, **sizes}, device=torch.device("cpu"), dtype=torch.float32)


def test_only_what_sequences_reach_is_real_memory() -> None:
    before = resident_mb()
    cache = new_cache()  # 3 GB, were it all real
    assert resident_mb() - before < 20
    entries = torch.ones(16, 300, 32)
    for slot in range(4):
        for layer in range(24):
            cache.write_prefix(layer, slot, entries, entries)
    grown = resident_mb() - before
    needed = 4 * 24 * 2 * entries.numel() * 4 / 2**20
    assert needed <= grown < 1.5 * needed + 20
    del cache
    gc.collect()
    assert resident_mb() - before < 20


def test_a_fresh_cache_is_zero_and_a_wiped_slot_is_zero_again() -> None:
    cache = new_cache(layers=2, slots=2, capacity_tokens=10)
    assert not cache.keys.any()
    cache.write_prefix(1, 1, torch.full((16, 4, 32), torch.nan), torch.ones(16, 4, 32))
    cache.write_prefix(1, 0, torch.ones(16, 4, 32), torch.ones(16, 4, 32))
    cache.clear(1)
    assert not cache.keys[:, 1].any()
    assert cache.keys[1, 0].any()
