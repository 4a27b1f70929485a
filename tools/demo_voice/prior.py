"""Stage 3b: exact tokens, phonemes and a reference in, trained `enc_p`, `flow` and `ref_enc` of `Vits` out.

The latents are a fixed map of log mels (features.py), so this stage needs neither waves nor the decoder. It regresses
them through the flow, which so is a second network behind the prior that knows the style. A likelihood as in Glow-TTS
would use the flow's noise too, but its four mean-only couplings cannot shape these latents well enough.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import features
import torch
from codebook import codebook
from sizes import SOVITS
from torch import Tensor, nn
from training import Run, descend

from sovits_service.audio.dsp import linear_spectrogram
from sovits_service.models.sovits.vits import Vits
from sovits_service.text.symbols import symbol_ids

REF_FRAMES = 150
NOISE_SCALE = 0.5  # of synthesis


def new_vits() -> Vits:
    """With its codebook, and with little noise on the latents to begin with."""
    model = Vits(SOVITS)
    with torch.no_grad():
        model.enc_p.proj.weight[SOVITS.inter_channels :] = 0.0
        model.enc_p.proj.bias[SOVITS.inter_channels :] = -3.0  # type: ignore[index]
    model.quantizer.codebook.embed.copy_(codebook())
    return model


class Batches:
    """Utterances by speaker in batches of similar length, each with another utterance of the speaker as reference."""

    def __init__(self, work: Path, rng: random.Random, *, held: bool = False) -> None:
        self.work, self.rng, self.held = work, rng, held
        self.loaded: set[str] = set()
        self.by_speaker: dict[str, list[features.Utterance]] = {}
        self.refresh()
        self.latents = features.Latents(work, [u for us in self.by_speaker.values() for u in us])
        self.ids = symbol_ids("v2")
        self.queue: list[list[features.Utterance]] = []

    def refresh(self) -> None:
        for utterance in features.fresh(self.work, self.loaded, held=self.held, seconds=(1.2, 9.0)):
            self.by_speaker.setdefault(utterance.speaker, []).append(utterance)

    def reference(self, speaker: str) -> Tensor:
        """(704, 150) linear spectrum of a random window of the speaker."""
        wave = torch.cat([self.rng.choice(self.by_speaker[speaker]).samples() for _ in range(2)])
        length = REF_FRAMES * features.HOP
        start = self.rng.randint(0, max(0, len(wave) - length))
        wave = wave[start : start + length]
        wave = nn.functional.pad(wave, (0, length - len(wave)))
        return linear_spectrogram(wave[None], features.FFT, features.HOP)[0, : SOVITS.ref_spec_bins]

    def batch(self, size: int, more: Sequence[features.Utterance] = ()) -> dict[str, Any]:
        """`size` utterances, followed by `more`."""
        if not self.queue:
            pool = []
            others = [s for s in self.by_speaker if s not in features.SHIPPED]
            for _ in range(size * 8):
                shipped = self.rng.random() < 0.75 or not others
                pool.append(self.rng.choice(self.by_speaker[self.rng.choice(features.SHIPPED if shipped else others)]))
            pool.sort(key=lambda u: len(u.tokens.codes))
            self.queue = [pool[i * size : (i + 1) * size] for i in range(8)]
            self.rng.shuffle(self.queue)
        return self.collate([*self.queue.pop(), *more])

    def lead(self, utterance: features.Utterance) -> int:
        """Tokens to leave out in front: often all silence but one token, as in what the GPT makes."""
        silent = next(i for i, code in enumerate(utterance.tokens.codes) if code >= features.c.PARTS)
        return max(0, silent - 1) if self.rng.random() < 0.7 else 0

    def collate(self, items: list[features.Utterance]) -> dict[str, Any]:
        """Padded tensors; `z` stays empty for an utterance without audio."""
        leads = [self.lead(u) for u in items]
        n_codes = [len(u.tokens.codes) - lead for u, lead in zip(items, leads, strict=True)]
        n_text = [len(u.tokens.symbols) for u in items]
        codes = torch.zeros(len(items), max(n_codes), dtype=torch.long)
        text = torch.zeros(len(items), max(n_text), dtype=torch.long)
        z = torch.zeros(len(items), SOVITS.inter_channels, 2 * max(n_codes))
        for row, (u, lead) in enumerate(zip(items, leads, strict=True)):
            codes[row, : n_codes[row]] = torch.tensor(u.tokens.codes[lead:])
            codes[row, 0] = u.tokens.codes[0]  # a silence counts from its first token on
            text[row, : n_text[row]] = torch.tensor([self.ids[s] for s in u.tokens.symbols])
            if len(u.wave):
                z[row, :, : 2 * n_codes[row]] = self.latents(u).float().t()[:, 2 * lead :]
        return {
            "codes": codes, "text": text, "z": z,
            "lengths": torch.tensor(n_codes) * 2, "text_lengths": torch.tensor(n_text),
            "items": items, "leads": leads,
            "ref": torch.stack([self.reference(u.speaker) for u in items]),
        }  # fmt: skip


def predict(model: Vits, batch: dict[str, Any], noise_scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 96, T) latents as synthesis makes them, their (B, 1, T) mask, and the (B, 128, 1) style."""
    style = model.ref_enc(batch["ref"])
    quantized = model.quantizer.decode(batch["codes"]).repeat_interleave(2, dim=-1)
    prior = model.encode_quantized(quantized, batch["text"], style, batch["lengths"], batch["text_lengths"])
    return model.latents(prior, style, torch.randn_like(prior.mean), noise_scale).float(), prior.mask, style


def distance(predicted: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Of latents and of their changes over time, per value."""
    error = (predicted - wanted) * mask
    total = error.abs().sum() + 0.5 * error.square().sum() + 0.5 * error.diff(dim=-1).abs().sum()
    return total / mask.sum() / SOVITS.inter_channels


def trained(model: Vits) -> nn.ModuleDict:
    """The parts that this stage trains."""
    return nn.ModuleDict({"enc_p": model.enc_p, "flow": model.flow, "ref_enc": model.ref_enc})


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = new_vits()
    parts = trained(model)
    optimizer = torch.optim.AdamW(parts.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    run = Run("prior", args.work / "prior.pt", args.steps, parts, {"optimizer": optimizer})
    batches, held = Batches(args.work, run.rng(args.seed)), Batches(args.work, random.Random(7), held=True)
    held_batches = [held.batch(8) for _ in range(4)]
    for _ in run:
        run.set_lr(optimizer, args.lr)
        batch = batches.batch(10)
        with torch.autocast("cpu", torch.bfloat16):
            predicted, mask, _ = predict(model, batch, 0.0)
        loss = distance(predicted, batch["z"], mask)
        descend(loss, optimizer, 5.0)
        if run.done(distance=loss):
            smooth = new_vits()
            run.smooth(trained(smooth))
            with torch.no_grad():
                far = [
                    float(distance(z, b["z"], mask))
                    for b in held_batches
                    for z, mask, _ in [predict(smooth.eval(), b, 0.0)]
                ]
            run.say(f"held-out {sum(far) / len(far):.4f}")
            batches.refresh()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
