"""LiveKit's TTS class for ElevenLabs: a whole text, and one that is written in pieces."""

import asyncio
import sys

import aiohttp
from livekit.plugins import elevenlabs


async def main() -> None:
    async with aiohttp.ClientSession() as session:
        tts = elevenlabs.TTS(
            base_url=f"{sys.argv[1]}/v1",
            api_key="none",
            voice_id="female_calm",
            encoding="pcm_24000",
            http_session=session,
        )
        samples = 0
        async for event in tts.synthesize("Hello there."):
            samples += event.frame.samples_per_channel
        assert samples > 10_000
        samples = 0
        async with tts.stream() as stream:
            for text in ("Hello there. ", "How are ", "you today?"):
                stream.push_text(text)
            stream.end_input()
            async for event in stream:
                samples += event.frame.samples_per_channel
        assert samples > 20_000
        await tts.aclose()


asyncio.run(main())
