"""Stage 2: waves with exact tokens in, a tiny HuBERT and the `ssl_proj` that read those tokens back out."""

from __future__ import annotations

import argparse
import math
import random
import time
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

    def __init__(self, work: Path, seed: int, *, held: bool = False) -> None:
        self.work, self.rng, self.held = work, random.Random(seed), held
        self.noise = np.random.default_rng(seed)
        self.loaded: set[str] = set()
        self.shipped: list[tuple[np.ndarray, list[int]]] = []
        self.others: list[tuple[np.ndarray, list[int]]] = []
        self.refresh()

    def refresh(self) -> None:
        for row in c.read_rows(self.work / "utterances.jsonl"):
            key = str(row["id"])
            if key in self.loaded or features.held_out(key) != self.held:
                continue
            self.loaded.add(key)
            u = features.load(self.work, row)
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
    path, step = args.work / "content.pt", 0
    average = {k: v.clone() for k, v in model.state_dict().items()}
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average, step = saved["average"], saved["step"]
    clips, held = Clips(args.work, args.seed + step), Clips(args.work, 3, held=True)
    held_batches = [held.batch() for _ in range(4)]
    started, sums = time.monotonic(), [0.0] * 3
    while step < args.steps:
        model.train()
        lr = args.lr * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps)) + 1e-5
        for group in optimizer.param_groups:
            group["lr"] = lr
        samples, target = clips.batch()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(samples)
        loss, right, phones = score(logits.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.995, step / (step + 20))
        for key, value in model.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        for i, value in enumerate((float(loss.detach()), right, phones)):
            sums[i] += value
        if step % 50 == 0:
            m = [s / 50 for s in sums]
            print(
                f"content {step} loss {m[0]:.3f} codes {m[1]:.3f} phones {m[2]:.3f} "
                f"{(time.monotonic() - started) / 50:.2f} s/step",
                flush=True,
            )
            started, sums = time.monotonic(), [0.0] * 3
        if step % 250 == 0 or step == args.steps:
            torch.save(
                {"model": model.state_dict(), "average": average, "optimizer": optimizer.state_dict(), "step": step},
                path.with_suffix(".tmp"),
            )
            path.with_suffix(".tmp").replace(path)
            smooth = Content()
            smooth.load_state_dict(average)
            with torch.no_grad():
                rows = [score(smooth.eval()(s), t)[1:] for s, t in held_batches]
            print(
                f"content {step} held-out codes {sum(r[0] for r in rows) / 4:.3f} "
                f"phones {sum(r[1] for r in rows) / 4:.3f}",
                flush=True,
            )
            clips.refresh()
            started = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
