"""LiveKit's TTS class for OpenAI."""

import asyncio
import sys

from livekit.plugins import openai


async def main() -> None:
    tts = openai.TTS(
        base_url=f"{sys.argv[1]}/v1", api_key="none", model="gpt-sovits", voice="female_calm", response_format="pcm"
    )
    samples = 0
    async for event in tts.synthesize("Hello there."):
        assert event.frame.sample_rate == 24_000
        samples += event.frame.samples_per_channel
    await tts.aclose()
    assert samples > 10_000


asyncio.run(main())
