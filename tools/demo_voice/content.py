"""Stage 2: waves with exact tokens in, a tiny HuBERT and the `ssl_proj` that read those tokens back out."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import codes as c
import features
import numpy as np
import soxr
import torch
import torch.nn.functional as F
from codebook import codebook
from sizes import SSL_CHANNELS
from torch import Tensor, nn
from training import Run, descend
from transformers import HubertConfig, HubertModel

RATE_HZ = 16_000
SAMPLES_PER_TOKEN = RATE_HZ // c.TOKENS_PER_SECOND
CROP_TOKENS = 80
BATCH = 10


def hubert_config() -> HubertConfig:
    return HubertConfig(
        vocab_size=32,
        hidden_size=SSL_CHANNELS,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=768,
        conv_dim=(64, 96, 128, 128, 160, 192, 256),
        num_conv_pos_embeddings=64,
        num_conv_pos_embedding_groups=8,
        hidden_dropout=0.05,
        attention_dropout=0.05,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
    )


class Content(nn.Module):
    """HuBERT, the halving projection, and logits of the codes: the nearer a code's vector, the likelier."""

    def __init__(self) -> None:
        super().__init__()
        self.hubert = HubertModel(hubert_config())
        self.ssl_proj = nn.Conv1d(SSL_CHANNELS, SSL_CHANNELS, 2, stride=2)
        self.register_buffer("codebook", codebook()[: c.N_USED_CODES], persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(-3.0))

    def forward(self, samples: Tensor) -> Tensor:
        """(B, T) 16 kHz samples to (B, T_tokens, codes) logits."""
        hidden = self.hubert(samples).last_hidden_state
        x = self.ssl_proj(hidden.transpose(1, 2)).transpose(1, 2).float()
        distance = self.codebook.square().sum(1) - 2 * x @ self.codebook.t()
        return -distance * self.log_scale.exp()


class Clips:
    """Random windows with their codes; loudness, noise and the silence at the end vary as references do."""

    def __init__(self, work: Path, rng: random.Random, *, held: bool = False) -> None:
        self.work, self.rng, self.held = work, rng, held
        self.noise = np.random.default_rng(rng.getrandbits(32))
        self.loaded: set[str] = set()
        self.shipped: list[tuple[np.ndarray, list[int]]] = []
        self.others: list[tuple[np.ndarray, list[int]]] = []
        self.refresh()

    def refresh(self) -> None:
        for u in features.fresh(self.work, self.loaded, held=self.held):
            wave = soxr.resample(u.wave.astype(np.float32) / 32768, features.RATE_HZ, RATE_HZ).astype(np.float16)
            (self.shipped if u.speaker in features.SHIPPED else self.others).append((wave, list(u.tokens.codes)))

    def batch(self) -> tuple[Tensor, Tensor]:
        """(B, T) samples and (B, T_tokens) codes, -100 where unknown."""
        waves, targets = [], []
        length = CROP_TOKENS * SAMPLES_PER_TOKEN
        for _ in range(BATCH):
            wave, code = self.rng.choice(self.shipped if self.rng.random() < 0.7 else self.others)
            start = 0 if self.rng.random() < 0.35 else self.rng.randint(0, max(0, len(code) - 40))
            piece = wave[start * SAMPLES_PER_TOKEN :][:length].astype(np.float32) * self.rng.uniform(0.4, 1.8)
            target = code[start : start + CROP_TOKENS]
            silent = CROP_TOKENS - len(target)
            quiet = 0
            while target and quiet < len(target) and target[-1 - quiet] < c.PARTS:
                quiet += 1
            # The run of silence goes on into the padding, so its codes count on from there.
            target = target[: len(target) - quiet] + c.part_codes(c.SILENCE, quiet + silent)
            piece = np.pad(piece, (0, length - len(piece)))
            piece = piece + self.noise.standard_normal(length, dtype=np.float32) * self.rng.choice((0, 1e-4, 1e-3))
            waves.append(torch.from_numpy(np.clip(piece, -1, 1)))
            targets.append(torch.tensor(target[:CROP_TOKENS]))
        return torch.stack(waves), torch.stack(targets)


def score(logits: Tensor, target: Tensor) -> tuple[Tensor, float, float]:
    """Loss, share of right codes, share of right phones."""
    n = min(logits.shape[1], target.shape[1])
    logits, target = logits[:, :n].flatten(0, 1), target[:, :n].flatten()
    guess = logits.argmax(-1)
    return (
        F.cross_entropy(logits, target, label_smoothing=0.05),
        float((guess == target).float().mean()),
        float((guess // c.PARTS == target // c.PARTS).float().mean()),
    )


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = Content()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    run = Run("content", args.work / "content.pt", args.steps, model, {"optimizer": optimizer}, decay=0.995)
    clips, held = Clips(args.work, run.rng(args.seed)), Clips(args.work, random.Random(3), held=True)
    held_batches = [held.batch() for _ in range(4)]
    for _ in run:
        model.train()
        run.set_lr(optimizer, args.lr)
        samples, target = clips.batch()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(samples)
        loss, right, phones = score(logits.float(), target)
        descend(loss, optimizer, 1.0)
        if run.done(loss=loss, codes=right, phones=phones):
            smooth = run.smooth(Content())
            with torch.no_grad():
                rows = [score(smooth(s), t)[1:] for s, t in held_batches]
            codes_right, phones_right = (sum(column) / len(rows) for column in zip(*rows, strict=True))
            run.say(f"held-out codes {codes_right:.3f} phones {phones_right:.3f}")
            clips.refresh()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
