"""Stage 3b: exact tokens, phonemes and a reference in, trained `enc_p`, `flow` and `ref_enc` of `Vits` out.

The latents are a fixed map of log mels (features.py), so this stage needs neither waves nor the decoder. It regresses
the mean first, with the flow at the identity that a new one is (`--flow-from` steps; cheap, and soon intelligible);
from there on prior and flow are trained by likelihood as in Glow-TTS (arXiv 2005.11129) with the known alignment.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import features
import torch
from codebook import codebook
from sizes import SOVITS
from torch import Tensor, nn
from vocoder import legacy_to_new

from sovits_service.audio.dsp import linear_spectrogram
from sovits_service.models.sovits.vits import Vits
from sovits_service.text.symbols import symbol_ids

DITHER = 0.1
REF_FRAMES = 150


def new_vits() -> Vits:
    model = Vits(SOVITS)
    model.quantizer.codebook.embed.copy_(codebook())
    return model


class Batches:
    """Utterances by speaker in batches of similar length, each with another utterance of the speaker as reference."""

    def __init__(self, work: Path, seed: int, *, held: bool = False) -> None:
        self.work, self.rng, self.held = work, random.Random(seed), held
        self.loaded: set[str] = set()
        self.by_speaker: dict[str, list[features.Utterance]] = {}
        self.refresh()
        self.latents = features.Latents(work, [u for us in self.by_speaker.values() for u in us])
        self.ids = symbol_ids("v2")
        self.queue: list[list[features.Utterance]] = []

    def refresh(self) -> None:
        for row in features.c.read_rows(self.work / "utterances.jsonl"):
            key = str(row["id"])
            if key in self.loaded or features.held_out(key) != self.held or sum(row["seconds"]) > 9:  # type: ignore[call-overload]
                continue
            self.loaded.add(key)
            utterance = features.load(self.work, row)
            self.by_speaker.setdefault(utterance.speaker, []).append(utterance)

    def reference(self, speaker: str) -> Tensor:
        """(704, 150) linear spectrum of a random window of the speaker."""
        wave = torch.cat([self.rng.choice(self.by_speaker[speaker]).samples() for _ in range(2)])
        length = REF_FRAMES * features.HOP
        start = self.rng.randint(0, max(0, len(wave) - length))
        wave = wave[start : start + length]
        wave = nn.functional.pad(wave, (0, length - len(wave)))
        return linear_spectrogram(wave[None], features.FFT, features.HOP)[0, : SOVITS.ref_spec_bins]

    def batch(self, size: int = 12) -> dict[str, Tensor]:
        if not self.queue:
            pool = []
            others = [s for s in self.by_speaker if s not in features.SHIPPED]
            for _ in range(size * 8):
                shipped = self.rng.random() < 0.75 or not others
                pool.append(self.rng.choice(self.by_speaker[self.rng.choice(features.SHIPPED if shipped else others)]))
            pool.sort(key=lambda u: len(u.tokens.codes))
            self.queue = [pool[i * size : (i + 1) * size] for i in range(8)]
            self.rng.shuffle(self.queue)
        return self.collate(self.queue.pop())

    def collate(self, items: list[features.Utterance]) -> dict[str, Tensor]:
        n_codes = [len(u.tokens.codes) for u in items]
        n_text = [len(u.tokens.symbols) for u in items]
        codes = torch.zeros(len(items), max(n_codes), dtype=torch.long)
        text = torch.zeros(len(items), max(n_text), dtype=torch.long)
        z = torch.zeros(len(items), SOVITS.inter_channels, 2 * max(n_codes))
        for row, u in enumerate(items):
            codes[row, : n_codes[row]] = torch.tensor(u.tokens.codes)
            text[row, : n_text[row]] = torch.tensor([self.ids[s] for s in u.tokens.symbols])
            z[row, :, : 2 * n_codes[row]] = self.latents(u).float().t()
        return {
            "codes": codes, "text": text, "z": z,
            "lengths": torch.tensor(n_codes) * 2, "text_lengths": torch.tensor(n_text),
            "ref": torch.stack([self.reference(u.speaker) for u in items]),
        }  # fmt: skip


def negative_log_likelihood(model: Vits, batch: dict[str, Tensor], *, dither: float = DITHER) -> Tensor:
    """Per latent value, without the constant."""
    style = model.ref_enc(batch["ref"])
    quantized = model.quantizer.decode(batch["codes"]).repeat_interleave(2, dim=-1)
    prior = model.encode_quantized(quantized, batch["text"], style, batch["lengths"], batch["text_lengths"])
    z = batch["z"] + dither * torch.randn_like(batch["z"])
    z_prior = model.flow(z * prior.mask, prior.mask, style)
    mean, log_std = prior.mean.float(), prior.log_std.float().clamp(-4, 3)
    loss = (log_std + 0.5 * (z_prior.float() - mean).square() * torch.exp(-2 * log_std)) * prior.mask
    return loss.sum() / prior.mask.sum() / SOVITS.inter_channels


def regression(model: Vits, batch: dict[str, Tensor]) -> Tensor:
    """Distance of the prior's mean to the latents, and of their changes over time; the flow is the identity."""
    style = model.ref_enc(batch["ref"])
    quantized = model.quantizer.decode(batch["codes"]).repeat_interleave(2, dim=-1)
    prior = model.encode_quantized(quantized, batch["text"], style, batch["lengths"], batch["text_lengths"])
    error = (prior.mean.float() - batch["z"]) * prior.mask
    change = error.diff(dim=-1)
    total = error.abs().sum() + 0.5 * error.square().sum() + 0.5 * change.abs().sum()
    return total / prior.mask.sum() / SOVITS.inter_channels


class Predictor:
    """The trained prior's mean for an utterance's exact tokens, through the flow: what the decoder is given in use."""

    def __init__(self, work: Path) -> None:
        self.model = new_vits()
        self.model.load_state_dict(legacy_to_new(torch.load(work / "prior.pt", weights_only=True)["average"]))
        self.model.eval()
        self.ids = symbol_ids("v2")
        self.references: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, utterance: features.Utterance) -> Tensor:
        """(T_frames, 96)."""
        if utterance.speaker not in self.references:  # the first utterances of a speaker are its reference
            spectrum = linear_spectrogram(utterance.samples()[None], features.FFT, features.HOP)
            self.references[utterance.speaker] = self.model.style_embedding([spectrum[:, : SOVITS.ref_spec_bins]])
        style = self.references[utterance.speaker]
        text = torch.tensor([[self.ids[s] for s in utterance.tokens.symbols]])
        prior = self.model.encode(torch.tensor([utterance.tokens.codes]), text, style)
        return self.model.latents(prior, style, torch.zeros_like(prior.mean), 0.0)[0].t()


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = new_vits()
    parameters = [p for m in (model.enc_p, model.flow, model.ref_enc) for p in m.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    path, step = args.work / "prior.pt", 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(legacy_to_new(saved["model"]))
        optimizer.load_state_dict(saved["optimizer"])
        average, step = saved["average"], saved["step"]
    batches, held = Batches(args.work, args.seed + step), Batches(args.work, 7, held=True)
    held_batches = [held.batch(8) for _ in range(3)]
    started, total = time.monotonic(), 0.0
    while step < args.steps:
        model.train()
        lr = args.lr * min(1, (step + 1) / 150) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps)) + 2e-5
        for group in optimizer.param_groups:
            group["lr"] = lr
        objective = regression if step < args.flow_from else negative_log_likelihood
        with torch.autocast("cpu", torch.bfloat16):
            loss = objective(model, batches.batch(10))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        step += 1
        decay = min(0.998, step / (step + 20))
        for key, value in model.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        total += float(loss.detach())
        if step % 50 == 0:
            print(
                f"prior {step} {objective.__name__} {total / 50:.4f} {(time.monotonic() - started) / 50:.2f} s/step",
                flush=True,
            )
            started, total = time.monotonic(), 0.0
        if step % 200 == 0 or step == args.steps:
            torch.save(
                {"model": model.state_dict(), "average": average, "optimizer": optimizer.state_dict(), "step": step},
                path.with_suffix(".tmp"),
            )
            path.with_suffix(".tmp").replace(path)
            smooth = new_vits()
            smooth.load_state_dict(legacy_to_new(average))
            with torch.no_grad():
                value = sum(float(objective(smooth.eval(), b)) for b in held_batches) / len(held_batches)
            print(f"prior {step} held-out {objective.__name__} {value:.4f}", flush=True)
            batches.refresh()
            started = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--flow-from", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
