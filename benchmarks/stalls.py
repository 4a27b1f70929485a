"""`python -m benchmarks.stalls`: does a running stream stall while eight new voices arrive? Prints JSON.

A listener takes a streamed paragraph (mode 3), alone and then while eight requests come at once, each with a clip that
was never encoded and a text that was never read. Reported are the longest gap between two chunks in both cases, and
chunks that came later than a listener in real time (1x) had played what was there before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.seeded import CONFIG, HAN
from sovits_service.types import SynthesisRequest

NEW_VOICES = 8
ROOT = Path(__file__).parents[1]
LISTENED = SynthesisRequest(
    text="清晨的阳光洒在安静的湖面上，几只白鹭从远处慢慢飞来。" * 4,
    text_lang="zh",
    voice_id="female_calm",
    prompt_text="你好",
    prompt_lang="zh",
    seed=1,
    pause_s=0.0,
    streaming_mode=3,
)


@dataclass(frozen=True)
class Listening:
    """When each chunk of a stream came, and how many seconds of audio it had."""

    arrived_s: list[float]
    audio_s: list[float]

    @property
    def longest_gap_s(self) -> float:
        return float(np.diff(self.arrived_s).max())

    @property
    def late_chunks(self) -> int:
        """Chunks that were not there when a listener at 1x had played all before; waiting moves what follows."""
        late, played_s = 0, self.arrived_s[0]
        for arrived_s, audio_s in zip(self.arrived_s, self.audio_s, strict=True):
            late += arrived_s > played_s + 1e-3
            played_s = max(played_s, arrived_s) + audio_s
        return late


async def listen(service, request: SynthesisRequest, first: asyncio.Event | None = None) -> Listening:  # type: ignore[no-untyped-def]
    synthesis = await service.synthesize(request)
    heard = Listening([], [])
    async for chunk in synthesis.chunks:
        heard.arrived_s.append(time.perf_counter())
        heard.audio_s.append(len(chunk.samples) / chunk.sample_rate_hz)
        if first is not None:
            first.set()
    return heard


def write_new_clips(folder: Path, turn: int) -> list[str]:
    """Clips of 5 s that differ in content: a voice of the project at other speeds, so that each is a new one."""
    samples, rate_hz = soundfile.read(ROOT / "voices/female_calm.wav", dtype="float32")
    names = []
    for number in range(NEW_VOICES):
        name = f"new_{turn}_{number}.wav"
        speed = 0.9 + 0.02 * number + 0.005 * turn
        positions = np.arange(0, min(len(samples) - 1, 5 * rate_hz * speed), speed)
        clip = np.interp(positions, np.arange(len(samples)), samples)
        soundfile.write(folder / name, clip, rate_hz)
        names.append(name)
    return names


async def measure(pack: Path | None, folder: Path) -> dict[str, object]:
    from sovits_service.service.build import build_service
    from sovits_service.settings import ServiceSettings
    from sovits_service.tts_settings import load_tts_settings

    settings = ServiceSettings(reference_roots=(folder,), cache={"backend": "off"})  # type: ignore[arg-type]
    tts = load_tts_settings(pack / CONFIG) if pack is not None else load_tts_settings()
    service = build_service(tts, settings)
    if pack is not None:
        from benchmarks.requests import fix_token_counts

        fix_token_counts()
    await service.start()
    await listen(service, LISTENED)  # all is warm, and the listener's voice and texts are known
    alone = await listen(service, LISTENED)
    first = asyncio.Event()
    listening = asyncio.create_task(listen(service, LISTENED, first))
    await first.wait()
    came_s = time.perf_counter()
    characters = iter(HAN[500:])
    newcomers = [
        replace(
            LISTENED,
            text="".join(next(characters) for _ in range(24)) + "。",
            voice_id=None,
            ref_audio=name,
            seed=number,
            streaming_mode=0,
        )
        for number, name in enumerate(write_new_clips(folder, 0))
    ]
    answers = await asyncio.gather(*(listen(service, request) for request in newcomers))
    beside = await listening
    await service.stop(0.0)
    return {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        **service.computation,
        "audio_s": round(sum(beside.audio_s), 2),
        "alone_s": round(alone.arrived_s[-1] - alone.arrived_s[0], 2),
        "beside_s": round(beside.arrived_s[-1] - beside.arrived_s[0], 2),
        "longest_gap_alone_s": round(alone.longest_gap_s, 3),
        "longest_gap_beside_s": round(beside.longest_gap_s, 3),
        "gap_ratio": round(beside.longest_gap_s / alone.longest_gap_s, 2),
        "late_chunks_alone": alone.late_chunks,
        "late_chunks_beside": beside.late_chunks,
        "chunks": len(beside.audio_s),
        "new_voices_done_s": [round(answer.arrived_s[-1] - came_s, 2) for answer in answers],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, help="full-size weights, made there if missing; else the demo's")
    args = parser.parse_args()
    if args.pack is not None:
        # In a process of its own: making the weights takes more memory than using them.
        subprocess.run([sys.executable, "-m", "benchmarks.seeded", str(args.pack)], check=True)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(args.pack, Path(folder))), indent=1))


if __name__ == "__main__":
    main()
