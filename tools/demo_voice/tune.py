"""Stage 3c: trained prior, HiFi-GAN and content encoder in; prior and HiFi-GAN, trained through each other, out.

The decoder learns to make speech of the smooth latents that a prior predicts, and the prior, whose view is the whole
utterance, learns what the decoder needs. Regression alone blurs what the tokens leave open, consonants above all. So
besides the discriminators the content encoder listens: what it reads in the speech must be the tokens that were
spoken. Neither needs a recording, so half of the utterances are of the many of which the durations alone are known.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import codes as c
import features
import numpy as np
import torch
import torch.nn.functional as F
from content import Content
from prior import NOISE_SCALE, Batches, distance, new_vits, predict, trained
from torch import Tensor, nn
from training import Run, averaged, descend
from vocoder import Adversary, Recorded, generator_loss

PAIRED, UNPAIRED, FRAMES = 3, 2, 44  # few long windows: the content encoder needs context
TRUST_AFTER = 200  # steps until the discriminators, perhaps new ones, count in full
# Less than for true latents: what the prior cannot know, the listeners may make up.
SPECTRAL_WEIGHT, DISTANCE_WEIGHT, CONTENT_WEIGHT = 4.0, 4.0, 2.0


class Listener(nn.Module):
    """The trained content encoder as a judge of speech: how far is what it reads from the tokens?"""

    def __init__(self, work: Path) -> None:
        super().__init__()
        self.content = Content()
        self.content.load_state_dict(averaged(work / "content.pt")[0])
        self.eval().requires_grad_(False)
        n = torch.arange(-31, 32)
        halving = torch.sinc(n / 2) * torch.hann_window(65, periodic=False)[1:-1]  # 32 to 16 kHz
        self.register_buffer("halving", (halving / halving.sum())[None, None])

    def forward(self, waves: Tensor, codes: Tensor) -> Tensor:
        """(B, 1, T) waves at 32 kHz and (B, T / 1280) codes to their cross entropy."""
        logits = self.content(F.conv1d(waves, self.halving, stride=2, padding=31)[:, 0])
        n = min(logits.shape[1], codes.shape[1])
        return F.cross_entropy(logits[:, :n].flatten(0, 1).float(), codes[:, :n].flatten())


def without_audio(work: Path) -> list[features.Utterance]:
    """Utterances of the shipped voices of which durations alone are known."""
    rng, out = random.Random(11), []
    for row in c.read_rows(work / "durations.jsonl"):
        names, seconds = list(row["phones"]), list(row["seconds"])  # type: ignore[call-overload]
        if 1.5 < sum(seconds) < 7:
            tokens = c.encode(names, c.fix_pauses(names, seconds, rng))
            silence = np.zeros(0, np.int16)
            out.append(features.Utterance(str(row["speaker"]), str(row["language"]), str(row["text"]), silence, tokens))
    return out


def windows(batch: dict[str, Any], predicted: Tensor, rng: random.Random) -> tuple[Tensor, Tensor, Recorded]:
    """A random window of each item: latents (B, 96, FRAMES), codes (B, FRAMES / 2), and PAIRED recordings."""
    zs, codes, recorded = [], [], []
    for row, length in enumerate(batch["lengths"].tolist()):
        first = max(0, rng.randint(-FRAMES // 2, length - FRAMES) // 2)  # the start is heard more often
        zs.append(predicted[row, :, 2 * first : 2 * first + FRAMES])
        codes.append(batch["codes"][row, first : first + FRAMES // 2])
        if row < PAIRED:
            recorded.append((batch["items"][row], 2 * (batch["leads"][row] + first), FRAMES))
    return torch.stack(zs), torch.stack(codes), Recorded(recorded)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model, adversary, listener = new_vits(), Adversary(), Listener(args.work)
    parts = nn.ModuleDict({**trained(model), "dec": model.dec})
    groups = [
        {"params": list(trained(model).parameters()), "lr": 0.0, "betas": (0.9, 0.98)},
        {"params": list(model.dec.parameters()), "lr": 0.0, "betas": (0.8, 0.99)},
    ]
    optimizer = torch.optim.AdamW(groups)
    kept = {"optimizer": optimizer, "discriminators": adversary.nets, "d_optimizer": adversary.optimizer}
    path = args.work / "tune.pt"
    if not path.exists():
        trained(model).load_state_dict(averaged(args.work / "prior.pt")[0])
        model.dec.load_state_dict(averaged(args.work / "vocoder.pt")[0])
        vocoder = torch.load(args.work / "vocoder.pt", weights_only=True)
        if "discriminators" in vocoder:  # not from a pack
            adversary.nets.load_state_dict(vocoder["discriminators"])
            adversary.optimizer.load_state_dict(vocoder["d_optimizer"])
    run = Run("tune", path, args.steps, parts, kept, save_every=50)
    batches, unpaired = Batches(args.work, run.rng(args.seed)), without_audio(args.work)
    for step in run:
        batch = batches.batch(PAIRED, batches.rng.sample(unpaired, UNPAIRED))
        with torch.autocast("cpu", torch.bfloat16):
            predicted, mask, style = predict(model, batch, NOISE_SCALE)
            z, codes, real = windows(batch, predicted, batches.rng)
            fake = model.dec(z, style).float()
            content = listener(fake, codes)
        decay = min(1, (step + 1) / 50, max(0.05, (args.steps - step) / (args.steps * 0.5)))
        far = distance(predicted[:PAIRED], batch["z"][:PAIRED], mask[:PAIRED])
        trust = min(1, step / TRUST_AFTER)
        loss, figures = generator_loss(fake, real, adversary, args.lr / 2 * decay, SPECTRAL_WEIGHT, trust)
        for group, lr in zip(optimizer.param_groups, (args.prior_lr, args.lr), strict=True):
            group["lr"] = lr * decay
        descend(loss + DISTANCE_WEIGHT * far + CONTENT_WEIGHT * content, optimizer, 20.0)
        if run.done(distance=far, content=content, **figures):
            batches.refresh()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--prior-lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
