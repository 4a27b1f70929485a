"""Pipecat's service for ElevenLabs, which writes to the WebSocket, in a pipeline."""

import asyncio
import sys

from pipecat.frames.frames import EndFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService


class Counter(FrameProcessor):
    """Counts the bytes of speech that pass."""

    size = 0

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            Counter.size += len(frame.audio)
        await self.push_frame(frame, direction)


async def main() -> None:
    speaker = ElevenLabsTTSService(
        api_key="none",
        url=sys.argv[1].replace("http", "ws"),
        settings=ElevenLabsTTSService.Settings(voice="female_calm", model="eleven_turbo_v2"),
    )
    task = PipelineTask(
        Pipeline([speaker, Counter()]), params=PipelineParams(audio_out_sample_rate=24_000), enable_rtvi=False
    )
    await task.queue_frames([TTSSpeakFrame("Hello there. How are you?"), EndFrame()])
    await PipelineRunner(handle_sigint=False).run(task)


asyncio.run(main())
assert Counter.size > 40_000, Counter.size
