"""Sentences and a pack in; the same sentences by the source, from true latents and from true tokens, for judge.py, out.

Each row has one more part of the pack in it, and `speak.py` has them all: where figures fall, that part is the reason.
No training of the pack gets past its source. Prints, too, how far the borders of words in the attention of `mrte` are
from those of the tokens.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import features
import numpy as np
import phones
import soundfile
import torch
from data import SPEAKERS, Kokoro, render, trim
from prior import NOISE_SCALE, Guide, new_vits, predict
from sizes import SOVITS
from speak import VOICES, VOICES_ROOT, manifest_row, read_sentences
from torch import Tensor
from training import loadable

from sovits_service.audio.dsp import linear_spectrogram
from sovits_service.engine.alignment import monotonic_path
from sovits_service.models.checkpoint import read_sovits
from sovits_service.models.sovits.vits import Vits
from sovits_service.text.symbols import symbol_ids

KINDS = ("source", "latents", "tokens")
FRAME_MS = 1000 * features.HOP // features.RATE_HZ


def from_source(kokoro: Kokoro, sentence: dict[str, Any], voice: str, seed: int) -> features.Utterance:
    """The source's recording of a sentence with its exact tokens; KeyError where the source cannot say it."""
    groups, speaker = phones.read(sentence["text"], sentence["lang"]), SPEAKERS[voice]
    wave, durations = kokoro(phones.source_string(groups), speaker.source, speaker.speed)
    assert wave is not None
    wave, aligned = trim(wave, phones.align(groups, durations), random.Random(seed))
    names, seconds = [name for name, _ in aligned], [s / speaker.pitch for _, s in aligned]
    return features.utterance(voice, sentence["lang"], sentence["text"], names, seconds, render(wave, speaker.pitch))


def reference(voice: str) -> Tensor:
    """(1, 704, T) linear spectrum of the voice's clip."""
    samples, _ = soundfile.read(VOICES_ROOT / f"{voice}.wav", dtype="float32")
    return linear_spectrogram(torch.from_numpy(samples)[None], features.FFT, features.HOP)[:, : SOVITS.ref_spec_bins]


def from_tokens(model: Vits, utterance: features.Utterance) -> Tensor:
    """(T,) samples that prior and decoder make of the exact tokens, at the pack's own noise."""
    ids, tokens = symbol_ids("v2"), utterance.tokens
    batch = {
        "codes": torch.tensor([tokens.codes]), "text": torch.tensor([[ids[s] for s in tokens.symbols]]),
        "lengths": torch.tensor([2 * len(tokens.codes)]), "text_lengths": torch.tensor([len(tokens.symbols)]),
        "ref": reference(utterance.speaker),
    }  # fmt: skip
    z, _, style = predict(model, batch, NOISE_SCALE)
    samples: Tensor = model.dec(z, style)[0, 0]
    return samples


def border_errors_ms(guide: Guide, utterance: features.Utterance) -> list[int]:
    """How far each word's first frame in the attention of the last prediction is from its first token."""
    path = monotonic_path(guide.weights().exp().mean(1)[0].log().numpy())
    owners = np.repeat(utterance.tokens.owners, 2)
    errors, position = [], 0
    for group in phones.read(utterance.text, utterance.language):
        if group[0].symbol not in phones.PUNCTUATION:
            errors.append(abs(int(np.searchsorted(path, position)) - int(np.searchsorted(owners, position))) * FRAME_MS)
        position += len(group)
    return errors


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = new_vits()
    model.load_state_dict(loadable({k: v.float() for k, v in read_sovits(args.pack / "sovits.pth").state.items()}))
    model.eval()
    guide, errors = Guide(model), []
    kokoro, latents, folder = Kokoro(args.work), features.Latents(args.work), args.work / "bounds"
    folder.mkdir(exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for index, sentence in enumerate(read_sentences(args.sentences)):
        voice = VOICES[(index + args.seed) % len(VOICES)]
        try:
            utterance = from_source(kokoro, sentence, voice, index)
        except KeyError as error:
            print(f"left out, the source cannot say {error}: {sentence['text']}")
            continue
        true = latents(utterance.in_own_time()).float().t()[None]
        waves = (utterance.samples(), model.dec(true)[0, 0], from_tokens(model, utterance))
        errors += border_errors_ms(guide, utterance)
        for kind, samples in zip(KINDS, waves, strict=True):
            wav = folder / f"{kind}_{args.seed}_{index:03d}_{voice}.wav"
            soundfile.write(wav, np.asarray(samples), features.RATE_HZ, "PCM_16")
            rows[kind].append(manifest_row(wav, sentence, voice))
    for kind in KINDS:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows[kind])
        (folder / f"{kind}.jsonl").write_text("".join(lines), encoding="utf-8")
    within = sum(e <= 60 for e in errors) / len(errors)
    print(f"{len(errors)} words: {within:.1%} begin within 60 ms of their tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo_voice"), help="has latents.pt: after `prior` or `warm`"
    )
    parser.add_argument("--pack", type=Path, default=Path("pretrained_models/demo"))
    parser.add_argument("--sentences", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
