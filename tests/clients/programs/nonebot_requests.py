"""The request code of nonebot-plugin-gpt-sovits, for api.py and for api_v2; the rest of it needs a running bot."""

import asyncio
import importlib.util
import sys
from pathlib import Path

found = importlib.util.find_spec("nonebot_plugin_gpt_sovits")
assert found is not None
spec = importlib.util.spec_from_file_location("requests_of_the_plugin", Path(found.origin).parent / "utils.py")
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)

CLIP = "voices/male_narrator.wav"
SAID = "This story begins in a small town by the river, where nothing ever seemed to change."


async def main() -> None:
    old = await plugin.generate(sys.argv[1], CLIP, SAID, "英文", "你好，世界。", "中文")
    new = await plugin.generate_v2(sys.argv[1], "你好，世界。", "all_zh", CLIP, prompt_text=SAID, prompt_lang="en")
    for wav in (old, new):
        assert wav[:4] == b"RIFF"
        assert plugin.get_wav_duration(wav) > 0.5


asyncio.run(main())
