"""Conditional flow matching (Lipman et al. 2023): noise, features and a prompt in, a mel spectrogram out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sovits_service.models.sovits.attention import sequence_mask
from sovits_service.models.sovits.dit import Condition, Dit, DitConfig, Modulations

Velocity = Callable[[Tensor, Condition, Modulations], Tensor]


class Cfm(nn.Module):
    """The decoder `cfm`: Euler steps along the velocity that the estimator predicts."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.estimator = Dit(config)

    def forward(
        self,
        features: Tensor,
        prompt: Tensor,
        noise: Tensor,
        n_steps: int,
        lengths: Sequence[int] | None = None,
        prompt_lengths: Sequence[int] | None = None,
        velocity: Velocity | None = None,
    ) -> Tensor:
        """Draw mel spectrograms, one for each item of the batch.

        Args:
            features: (B, text_channels, T), those of the prompt at the front.
            prompt: (B, n_mels, T_prompt) normalised mel of the prompt.
            noise: (B, n_mels, T) standard normal.
            n_steps: 4 to 32; more is finer and slower.
            lengths: frames of each item, prompt included, where the batch is padded.
            prompt_lengths: frames of each prompt where they differ.
            velocity: runs the estimator in its place.

        Returns:
            (B, n_mels, T) float32 normalised mel, zero in the prompt.
        """
        dtype = features.dtype
        padded = lengths is not None and any(length != features.shape[2] for length in lengths)
        mask = sequence_mask(lengths, features).transpose(1, 2) if padded else None
        is_prompt = torch.zeros_like(noise[:, :1], dtype=torch.bool)
        if prompt_lengths is None:
            is_prompt[..., : prompt.shape[2]] = True
        else:
            is_prompt = sequence_mask(prompt_lengths, noise) > 0
        is_prompt = is_prompt.transpose(1, 2)
        behind = prompt.new_zeros(*prompt.shape[:2], noise.shape[2] - prompt.shape[2])
        whole_prompt = torch.cat((prompt, behind), dim=2).transpose(1, 2).to(dtype)
        condition = self.estimator.condition(features.transpose(1, 2), whole_prompt.masked_fill(~is_prompt, 0.0), mask)
        # parity: the estimator is told the size of the step as well as the time.
        times = torch.arange(n_steps, device=noise.device, dtype=torch.float32) / n_steps
        modulations = self.estimator.modulations(times, torch.full_like(times, 1.0 / n_steps))
        # The sum of small steps is kept in float32 whatever the weights' dtype.
        x = noise.transpose(1, 2).float().masked_fill(is_prompt, 0.0)
        for step in range(n_steps):
            moved = (velocity or self.estimator)(x.to(dtype), condition, modulations[step])
            x = (x + moved.float() / n_steps).masked_fill(is_prompt, 0.0)
        return x.transpose(1, 2)
