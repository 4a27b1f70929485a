"""What each input and output of the exported graphs is, and in which unit; kept in the files and told in the README."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_TEXT_IDS = "Phonemes of the text, ids of symbols.json."
_STYLE = "The timbre of the voice, from style_encoder.onnx."
_SAMPLES = "Mono speech at {rate} Hz, full scale is 1."

GRAPHS: Mapping[str, str] = MappingProxyType(
    {
        "bert.onnx": "Features of a Chinese text for the GPT.",
        "hubert.onnx": "What is said in the reference clip, as semantic tokens.",
        "speaker_encoder.onnx": "Who speaks in the reference clip; `style_encoder.onnx` takes it.",
        "style_encoder.onnx": "The timbre of the reference clip. Of several clips, take the mean.",
        "reference_mel.onnx": "The mel spectrogram of the reference clip, which `cfm_step.onnx` goes on from.",
        "gpt_prefill.onnx": "The GPT over text and reference: logits of the first token, and a filled cache.",
        "gpt_step.onnx": "The GPT one token further.",
        "sovits.onnx": "Semantic tokens to what the vocoder (or the flow matching) takes.",
        "cfm_step.onnx": "One step of the flow matching: add `velocity` times `step_size` to `mel`.",
        "vocoder.onnx": "Frames to samples.",
    }
)


def ports(graph: str, rate_hz: int = 0) -> dict[str, str]:
    """Texts for the inputs and outputs of a graph, by its file's name; `rate_hz` is that of its samples."""
    return {name: text.format(rate=rate_hz) for name, text in _PORTS[graph].items()}


_PORTS: dict[str, dict[str, str]] = {
    "bert.onnx": {
        "ids": "Token ids of tokenizer.json, [CLS] first and [SEP] last; one for each Chinese character.",
        "hidden": "A vector for each token; that of a character goes to each of its phonemes.",
    },
    "hubert.onnx": {
        "samples": _SAMPLES,
        "ssl_features": "HuBERT's features, 50 a second.",
        "prompt_tokens": "Semantic tokens, 25 a second; 0.3 s of silence are appended first, as at training.",
    },
    "speaker_encoder.onnx": {"samples": _SAMPLES, "speaker_embedding": "The speaker, without a unit."},
    "style_encoder.onnx": {
        "samples": _SAMPLES,
        "speaker_embedding": "From speaker_encoder.onnx, of the same clip.",
        "style_embedding": "The timbre, without a unit.",
    },
    "reference_mel.onnx": {"samples": _SAMPLES, "ref_mel": "Log mel, -12 to 2 mapped to -1 to 1."},
    "gpt_prefill.onnx": {
        "phoneme_ids": "Phonemes of the reference's text, then those of the text; ids of symbols.json.",
        "bert": "A feature for each phoneme from bert.onnx; zeros where there is none.",
        "prompt_tokens": "Semantic tokens of the reference, from hubert.onnx; may be empty.",
        "logits": "Of the first new token.",
        "keys": "To be put at the start of the cache, an entry for each phoneme and token.",
        "values": "As the keys.",
    },
    "gpt_step.onnx": {
        "tokens": "The newest semantic token of each row.",
        "positions": "Its place among the semantic tokens, those of the reference included.",
        "lengths": "Entries of the cache before this one: phonemes and tokens.",
        "keys": "The cache; entries at and behind `lengths` may hold anything finite.",
        "values": "As the keys.",
        "logits": "Of the next token.",
        "new_keys": "The cache with this entry; it may be bound to the memory of the input.",
        "new_values": "As the keys.",
    },
    "sovits.onnx": {
        "semantic_tokens": "25 a second, without the end token.",
        "phoneme_ids": _TEXT_IDS,
        "style_embedding": _STYLE,
        "noise": "Standard normal. Its frames: 2 for each token at speed 1, floor(2 * tokens / speed) + 1 at another.",
        "latent_frames": "2 for each token at speed 1, floor(2 * tokens / speed) + 1 at another.",
        "audible_frames": "Frames of the mel that may be heard: floor(tokens * c), at another speed than 1 "
        "floor(tokens * c / speed) + 1; c is in frames_per_token of config.json.",
        "latents": "For the vocoder, 50 a second at speed 1.",
        "features": "For the flow matching, at the frame rate of the mel.",
    },
    "cfm_step.onnx": {
        "mel": "As drawn so far, standard normal at first; zero in the frames of the prompt, before each step.",
        "prompt": "Normalised mel of what goes before, at the front; zero behind it.",
        "features": "From sovits.onnx, those of the prompt at the front.",
        "time": "0 at first, up to 1 - step_size.",
        "step_size": "1 / number of steps (4 to 32).",
        "velocity": "How the mel moves.",
    },
    "vocoder.onnx": {
        "latents": "From sovits.onnx.",
        "style_embedding": _STYLE,
        "mel": "Normalised, as the flow matching draws it.",
        "samples": _SAMPLES,
    },
}
