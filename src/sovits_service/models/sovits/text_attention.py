"""Where the encoder `enc_p` looks in the text: semantic tokens and phoneme ids in, attention weights out."""

from __future__ import annotations

import math

import torch

from sovits_service.models.sovits.attention import sequence_mask
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import FloatArray


@torch.inference_mode()
def text_attention(model: Vits | CfmSynthesizer, tokens: torch.Tensor, phoneme_ids: torch.Tensor) -> FloatArray:
    """The cross-attention of `enc_p.mrte`, for whose frames the phoneme that is said may be known (GSV-TTS-Lite).

    Args:
        tokens: (T,) int64 semantic tokens.
        phoneme_ids: (P,) int64, what they say.

    Returns:
        (heads, T, P) float32; a row adds up to 1: the mean over the frames of a token.
    """
    encoder, device, stride = model.enc_p, model.ssl_proj.weight.device, model.config.ssl_stride
    quantized = model.quantizer.decode(tokens[None].to(device)).repeat_interleave(stride, dim=-1)
    embedded = encoder.text_embedding(phoneme_ids[None].to(device)).transpose(1, 2)
    frames = encoder.encoder_ssl(encoder.ssl_proj(quantized), sequence_mask(None, quantized))
    text = encoder.encoder_text(embedded, sequence_mask(None, embedded))
    attention = encoder.mrte.cross_attention
    query, key = (
        conv(x).unflatten(1, (attention.n_heads, attention.head_channels)).transpose(2, 3)[0]
        for conv, x in (
            (attention.conv_q, encoder.mrte.c_pre(frames)),
            (attention.conv_k, encoder.mrte.text_pre(text)),
        )
    )
    weights = (query @ key.transpose(1, 2)).float().div_(math.sqrt(attention.head_channels)).softmax(-1)
    array: FloatArray = weights.unflatten(1, (len(tokens), stride)).mean(2).cpu().numpy()
    return array
