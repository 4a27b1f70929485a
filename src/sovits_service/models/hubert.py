"""HuBERT (Hsu et al. 2021), the ears of the semantic tokens: 16 kHz samples in, 50 feature frames a second out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel

from sovits_service.models.linear import replace_linear
from sovits_service.models.sovits.weight_norm import remove_weight_norm

SAMPLE_RATE_HZ = 16_000
# parity: silence after the clip, "0.3 s" that the original counts at 32 kHz and appends at 16 kHz. It adds 15 tokens
# to the prompt, and the prompts that users tuned their voices with end like that.
TAIL_SILENCE_SAMPLES = 9_600


class Hubert(nn.Module):
    """transformers' HuBERT without its training parts, its weight norm folded.

    Args:
        config: the folder's `config.json`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        # Masking serves training alone; without it the model has no `masked_spec_embed`.
        no_masking = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "apply_spec_augment": False}
        self.model = HubertModel(HubertConfig(**{**config, **no_masking}))
        remove_weight_norm(self.model.encoder.pos_conv_embed.conv)
        replace_linear(self.model)

    def forward(self, samples: Tensor) -> Tensor:
        """Hears a clip.

        Args:
            samples: (B, T) mono at 16 kHz in [-1, 1], in the model's dtype; the silence is appended here.

        Returns:
            (B, channels, (T + 9600) // 320 or one less).
        """
        features: Tensor = self.model(F.pad(samples, (0, TAIL_SILENCE_SAMPLES))).last_hidden_state
        return features.transpose(1, 2)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype
