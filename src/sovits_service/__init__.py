"""Speech server for GPT-SoVITS voices."""

import os

# ONNX Runtime reports each session to its maker, and leaves an identifier of the device under ~/.cache, unless this
# is set before it is imported. A speech server that people run themselves tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
