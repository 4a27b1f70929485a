"""Stage 3c: trained prior, HiFi-GAN and content encoder in; prior and HiFi-GAN, trained through each other, out.

The decoder learns to make speech of the smooth latents that a prior predicts, and the prior, whose view is the whole
utterance, learns what the decoder needs. Regression alone blurs what the tokens leave open, consonants above all. So
besides the discriminators the content encoder listens: what it reads in the speech must be the tokens that were
spoken. Neither needs a recording, so two in five utterances are of the many of which the durations alone are known.
Every other step is one of vocoder.py, from true latents.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from content import Content
from prior import NOISE_SCALE, Batches, Objective, new_vits, predict, trained, without_audio
from torch import Tensor, nn
from training import Run, averaged, descend, loadable
from vocoder import DITHER, Adversary, Recorded, Segments, generator_loss

from sovits_service.models.sovits.vits import Vits

PAIRED, UNPAIRED, FRAMES = 3, 2, 44  # few long windows: the content encoder needs context
TRUST_AFTER = 200  # steps until the discriminators, perhaps new ones, count in full
# Less than for true latents: what the prior cannot know, the listeners may make up.
SPECTRAL_WEIGHT, PRIOR_WEIGHT, CONTENT_WEIGHT = 4.0, 3.0, 2.0


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


def windows(batch: dict[str, Any], predicted: Tensor, rng: random.Random) -> tuple[Tensor, Tensor, Recorded]:
    """A random window of each item: latents (B, 96, FRAMES), codes (B, FRAMES / 2), and PAIRED recordings."""
    zs, codes, recorded = [], [], []
    for row, length in enumerate(batch["lengths"].tolist()):
        last = (length - FRAMES) // 2
        first = min(last, max(0, rng.randint(-FRAMES // 4, last + FRAMES // 4)))  # both ends are heard more often
        zs.append(predicted[row, :, 2 * first : 2 * first + FRAMES])
        codes.append(batch["codes"][row, first : first + FRAMES // 2])
        if row < PAIRED:
            recorded.append((batch["items"][row], 2 * (batch["leads"][row] + first), FRAMES))
    return torch.stack(zs), torch.stack(codes), Recorded(recorded)


def begin(work: Path, model: Vits, adversary: Adversary, objective: Objective) -> None:
    """Take up what the stages before have trained; a checkpoint made of a pack has weights alone."""
    prior, vocoder = (torch.load(work / f"{stage}.pt", weights_only=True) for stage in ("prior", "vocoder"))
    trained(model).load_state_dict(loadable(prior["average"]))
    model.dec.load_state_dict(loadable(vocoder["average"]))
    if "listeners" in prior:
        objective.load(prior)
    if "discriminators" in vocoder:
        adversary.nets.load_state_dict(loadable(vocoder["discriminators"]))
        adversary.optimizer.load_state_dict(vocoder["d_optimizer"])


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model, adversary, listener = new_vits(), Adversary(), Listener(args.work)
    objective, path = Objective(model), args.work / "tune.pt"
    if not path.exists():
        begin(args.work, model, adversary, objective)
    parts = nn.ModuleDict({**trained(model), "dec": model.dec})
    groups = [
        {"params": list(trained(model).parameters()), "lr": 0.0, "betas": (0.9, 0.98)},
        {"params": list(model.dec.parameters()), "lr": 0.0, "betas": (0.8, 0.99)},
    ]
    optimizer = torch.optim.AdamW(groups)
    kept = {
        "optimizer": optimizer,
        "discriminators": adversary.nets,
        "d_optimizer": adversary.optimizer,
        **objective.kept,
    }
    run = Run("tune", path, args.steps, parts, kept, save_every=50)
    batches, unpaired = Batches(args.work, run.rng(args.seed)), without_audio(args.work)
    segments = Segments(args.work, run.rng(args.seed))
    for step in run:
        decay = min(1, (step + 1) / 50, max(0.05, (args.steps - step) / (args.steps * 0.5)))
        trust = min(1, step / TRUST_AFTER)
        for group, lr in zip(optimizer.param_groups, (args.prior_lr, args.lr), strict=True):
            group["lr"] = lr * decay
        if step % 2:
            z, real = segments.batch()
            with torch.autocast("cpu", torch.bfloat16):
                fake = model.dec(z + DITHER * torch.randn_like(z)).float()
            loss, figures = generator_loss(fake, real, adversary, args.lr / 2 * decay, trust=trust)
            descend(loss, optimizer, 20.0)
            figures = {f"vocoder_{name}": figures[name] for name in ("spectral", "matching")}
        else:
            batch = batches.batch(PAIRED, batches.rng.sample(unpaired, UNPAIRED))
            with torch.autocast("cpu", torch.bfloat16):
                predicted, mask, style = predict(model, batch, NOISE_SCALE)
                z, codes, real = windows(batch, predicted, batches.rng)
                fake = model.dec(z, style).float()
                content = listener(fake, codes)
            prior_loss, heard = objective(batch, predicted, mask, style, trust)
            loss, figures = generator_loss(fake, real, adversary, args.lr / 2 * decay, SPECTRAL_WEIGHT, trust)
            descend(loss + PRIOR_WEIGHT * prior_loss + CONTENT_WEIGHT * content, optimizer, 20.0)
            figures |= {"content": content, **heard}
        if run.done(**figures):
            batches.refresh()
            segments.refresh()


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
