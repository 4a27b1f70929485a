"""The same seed gives the same samples whatever else runs: all versions, streaming modes and chunk lengths."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.service.service import SpeechService
from sovits_service.types import ModelVersion, SamplingParams, SynthesisRequest
from tests.engine.test_versions import PROMPTED, service  # noqa: F401 - a fixture

CHUNKS = ((1, 0), (4, 2), (4, 9), (16, 2))  # min_chunk_length, overlap_length
STREAMED = SynthesisRequest(
    text="你好，世界。",
    text_lang="zh",
    voice_id="tone",
    seed=11,
    sampling=SamplingParams(max_new_tokens=24),
    **{**PROMPTED, "cfm_steps": 1},
)


async def chunks_of(service: SpeechService, request: pytest.FixtureRequest) -> Any:  # noqa: F811
    synthesis = await service.synthesize(request)
    return [chunk.samples async for chunk in synthesis.chunks]


def requests() -> Iterator[Any]:
    yield from (replace(STREAMED, streaming_mode=mode) for mode in (0, 1))
    for mode in (2, 3):
        for length, overlap in CHUNKS if mode == 3 else CHUNKS[1:3]:
            speed = 1.3 if (length, overlap) == (4, 2) else 1.0
            yield replace(STREAMED, streaming_mode=mode, speed=speed, min_chunk_tokens=length, overlap_tokens=overlap)


@pytest.mark.parametrize("version", VERSIONS)
async def test_speech_is_the_same_alone_behind_a_lagging_decoder_and_in_company(
    service: SpeechService,  # noqa: F811
    version: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await service.switches.weights(gpt="v1.ckpt" if version == "v1" else "v2.ckpt")
    await service.switches.weights(sovits=f"{version}.pth")
    decoder_class = type(service._models.current.worker.decoder)
    alone = [await chunks_of(service, request) for request in requests()]
    assert len({len(chunks) for chunks in alone}) > 2, "chunk lengths make a difference"

    choose = decoder_class.batch
    with monkeypatch.context() as patch:
        # The worst load there is: nothing is vocoded before all tokens of all sequences are there.
        worker = service._models.current.worker
        patch.setattr(
            decoder_class, "batch", lambda self, streams: [] if worker.running_sequences else choose(self, streams)
        )
        lagging = [await chunks_of(service, request) for request in requests()]
    for request, one, other in zip(requests(), alone, lagging, strict=True):
        assert [len(chunk) for chunk in other] == [len(chunk) for chunk in one], request
        np.testing.assert_array_equal(np.concatenate(other), np.concatenate(one))

    together = await asyncio.gather(*(chunks_of(service, request) for request in requests()))
    for request, one, other in zip(requests(), alone, together, strict=True):
        assert [len(chunk) for chunk in other] == [len(chunk) for chunk in one], request
        np.testing.assert_array_equal(np.concatenate(other), np.concatenate(one))
