"""LiteLLM's speech function."""

import sys

import litellm

answer = litellm.speech(
    model="openai/gpt-sovits",
    voice="female_calm",
    input="Hello there.",
    api_base=f"{sys.argv[1]}/v1",
    api_key="none",
    response_format="wav",
)
assert answer.content[:4] == b"RIFF"
assert len(answer.content) > 20_000
