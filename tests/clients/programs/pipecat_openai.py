"""Pipecat's service for OpenAI, in a pipeline."""

import asyncio
import sys

from pipecat.frames.frames import EndFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.tts import OpenAITTSService


class Counter(FrameProcessor):
    """Counts the bytes of speech that pass."""

    size = 0

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            Counter.size += len(frame.audio)
        await self.push_frame(frame, direction)


async def main() -> None:
    speaker = OpenAITTSService(
        api_key="none",
        base_url=f"{sys.argv[1]}/v1",
        settings=OpenAITTSService.Settings(model="gpt-sovits", voice="alloy"),
    )
    task = PipelineTask(
        Pipeline([speaker, Counter()]), params=PipelineParams(audio_out_sample_rate=24_000), enable_rtvi=False
    )
    await task.queue_frames([TTSSpeakFrame("Hello there."), EndFrame()])
    await PipelineRunner(handle_sigint=False).run(task)


asyncio.run(main())
assert Counter.size > 20_000
