"""A server process with tiny models: real requests, real files, and speech in an instant."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import httpx
import numpy as np
import soundfile

from tests.e2e.conftest import Served, start_server
from tests.tiny_pack import write_pack

RATE_HZ = 16_000


def write_tiny(folder: Path) -> Path:
    """A folder to serve from: tiny models and no voice, whose `tts_infer.yaml` is returned."""
    (folder / "voices").mkdir(parents=True)
    return write_pack(folder / "pack")


def start_tiny(config: Path, **variables: str) -> Served:
    """Starts it, and waits until it is ready; a fragment has 80 phonemes and tokens at most."""
    folder = config.parent.parent
    settings = {"SOVITS_BUNDLED_VOICES": "false", "SOVITS_MAX_SEQ_TOKENS": "80"}
    served = start_server(folder, "-c", str(config), variables={**settings, **variables})
    served.wait_until_ready()
    return served


def clip(number: int, seconds: float = 3.0) -> bytes:
    """A wav file; each number has another pitch."""
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    sink = io.BytesIO()
    soundfile.write(sink, 0.3 * np.sin(2 * math.pi * (200 + 7 * number) * times_s), RATE_HZ, format="wav")
    return sink.getvalue()


def read_metric(served: Served, name: str) -> float:
    """One number of `/metrics`."""
    text = httpx.get(f"{served.url}/metrics", timeout=60).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])
