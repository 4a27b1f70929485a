"""Speech server for GPT-SoVITS voices.

In a Python program, without a server:

    from sovits_service import load

    with load() as tts:
        tts.synthesize("你好，世界。", voice="female_calm").save("hello.wav")

The names below are imported when they are used: `import sovits_service` alone loads neither torch nor a model.
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sovits_service.synthesizer import Audio, Synthesizer, load

__all__ = ["Audio", "Synthesizer", "load"]

# ONNX Runtime reports each session to its maker, and leaves an identifier of the device under ~/.cache, unless this
# is set before it is imported. A speech server that people run themselves tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module("sovits_service.synthesizer"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
