"""Stage 3a: latents of real speech in, a trained HiFi-GAN `dec` out; no text is needed."""

from __future__ import annotations

import argparse
import itertools
import random
from pathlib import Path

import features
import torch
import torch.nn.functional as F
from sizes import SOVITS
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from training import Run, descend

from sovits_service.audio.dsp import mel_filters
from sovits_service.models.sovits.hifigan import Hifigan, HifiganConfig
from sovits_service.models.sovits.weight_norm import add_weight_norm

FRAMES, BATCH = 20, 9
DITHER = 0.1  # on the latents, so that the decoder forgives those of the prior


def new_generator() -> Hifigan:
    """`dec` of the demo with weight norm; its style input stays zero, since the latents carry the timbre."""
    generator = Hifigan(
        HifiganConfig(
            in_channels=SOVITS.inter_channels,
            upsample_rates=SOVITS.upsample_rates,
            upsample_kernel_sizes=SOVITS.upsample_kernel_sizes,
            upsample_initial_channel=SOVITS.upsample_initial_channel,
            resblock=SOVITS.resblock,
            resblock_kernel_sizes=SOVITS.resblock_kernel_sizes,
            resblock_dilation_sizes=SOVITS.resblock_dilation_sizes,
            gin_channels=SOVITS.gin_channels,
        )
    )
    for layer in generator.normed_layers():
        nn.init.kaiming_normal_(layer.weight, a=0.1, nonlinearity="leaky_relu")  # type: ignore[arg-type]
        with torch.no_grad():
            layer.weight.mul_(0.4)  # type: ignore[operator, union-attr]
        add_weight_norm(layer)
    nn.init.zeros_(generator.cond.weight)
    nn.init.zeros_(generator.cond.bias)  # type: ignore[arg-type]
    return generator


class PeriodDiscriminator(nn.Module):
    """Judges samples that are `period` apart (HiFi-GAN, arXiv 2010.05646), narrow."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, 16, 48, 96, 128)
        self.layers = nn.ModuleList(
            parametrizations.weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0))) for a, b in itertools.pairwise(widths)
        )
        self.post = parametrizations.weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = F.pad(wave, (0, -wave.shape[-1] % self.period)).unflatten(-1, (-1, self.period))
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            maps.append(x)
        return self.post(x), maps


class SpectrumDiscriminator(nn.Module):
    """Judges the log spectrum at one resolution (UnivNet, arXiv 2106.07889), narrow."""

    def __init__(self, fft: int) -> None:
        super().__init__()
        self.fft = fft
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        strides = ((1, 2), (1, 2), (2, 2), (1, 2))
        widths = (1, 16, 24, 32, 48)
        self.layers = nn.ModuleList(
            parametrizations.weight_norm(nn.Conv2d(a, b, (3, 7), s, (1, 3)))
            for a, b, s in zip(widths, widths[1:], strides, strict=False)
        )
        self.post = parametrizations.weight_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        spectrum = torch.stft(
            wave[:, 0].float(), self.fft, self.fft // 4, window=self.window, return_complex=True
        ).abs()
        x = torch.log(spectrum[:, : self.fft * 3 // 8] + 1e-3).transpose(1, 2)[:, None]  # up to 12 kHz
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            maps.append(x)
        return self.post(x), maps


def spectral_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Multi-resolution log-magnitude and mel distance of (B, 1, T) waves."""
    total = fake.new_zeros(())
    for fft, n_mels in ((320, 40), (1024, 80), (2048, 128)):
        window = torch.hann_window(fft)
        a, b = (
            torch.stft(w[:, 0].float(), fft, fft // 4, window=window, return_complex=True).abs() for w in (fake, real)
        )
        mel = torch.from_numpy(mel_filters(32_000, fft, n_mels))
        total = total + F.l1_loss(torch.log(mel @ a + 1e-4), torch.log(mel @ b + 1e-4))
        a, b = a[:, : fft * 3 // 8], b[:, : fft * 3 // 8]
        total = total + 0.5 * F.l1_loss(torch.log(a + 1e-3), torch.log(b + 1e-3))
        total = total + 0.5 * torch.linalg.vector_norm(a - b) / (torch.linalg.vector_norm(b) + 1e-3)
    return total / 3


class Adversary:
    """The discriminators with their optimizer (least squares, feature matching: HiFi-GAN's losses)."""

    def __init__(self) -> None:
        self.nets = nn.ModuleList(
            [*(PeriodDiscriminator(p) for p in (3, 5, 7)), *(SpectrumDiscriminator(f) for f in (512, 1280))]
        )
        self.optimizer = torch.optim.AdamW(self.nets.parameters(), lr=1e-3, betas=(0.8, 0.99))

    def learn(self, fake: Tensor, real: Tensor, lr: float) -> tuple[Tensor, list[list[Tensor]]]:
        """One step of the discriminators; its loss, and their feature maps of `real`."""
        loss, wanted, n = fake.new_zeros(()), [], len(real)
        both = torch.cat([real, fake.detach()])
        with torch.autocast("cpu", torch.bfloat16):
            for net in self.nets:
                score, maps = net(both)
                loss = loss + ((1 - score[:n].float()) ** 2).mean() + (score[n:].float() ** 2).mean()
                wanted.append([m[:n].detach() for m in maps])
        self.optimizer.param_groups[0]["lr"] = lr
        descend(loss, self.optimizer, 5.0)
        return loss.detach(), wanted

    def judge(self, fake: Tensor, wanted: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """The generator's adversarial loss, and its feature matching loss for the first, which have a real wave."""
        adversarial, matching = fake.new_zeros(()), fake.new_zeros(())
        with torch.autocast("cpu", torch.bfloat16):
            for net, real_maps in zip(self.nets, wanted, strict=True):
                score, maps = net(fake)
                adversarial = adversarial + ((1 - score.float()) ** 2).mean()
                distances = [F.l1_loss(a[: len(b)].float(), b.float()) for a, b in zip(maps, real_maps, strict=True)]
                matching = matching + sum(distances) / len(distances)
        return adversarial, matching


class Segments:
    """Random windows of latents and wave, mostly of the shipped voices; grows as stage 1 goes on."""

    def __init__(self, work: Path, rng: random.Random) -> None:
        self.work, self.rng = work, rng
        self.loaded: set[str] = set()
        self.shipped: list[features.Utterance] = []
        self.others: list[features.Utterance] = []
        self.refresh()
        self.latents = features.Latents(work, self.shipped + self.others)

    def refresh(self) -> None:
        for utterance in features.fresh(self.work, self.loaded):
            if len(utterance.wave) > (FRAMES + 2) * features.HOP:
                (self.shipped if utterance.speaker in features.SHIPPED else self.others).append(utterance)

    def batch(self) -> tuple[Tensor, Tensor]:
        """(B, 96, T) latents and (B, 1, T * 640) samples."""
        zs, waves = [], []
        for index in range(BATCH):
            u = self.rng.choice(self.others if index == 0 else self.shipped)
            z = self.latents(u)
            start = self.rng.randint(0, len(z) - FRAMES)
            zs.append(z[start : start + FRAMES].float().t())
            waves.append(u.samples()[start * features.HOP : (start + FRAMES) * features.HOP])
        return torch.stack(zs), torch.stack(waves)[:, None]


def generator_loss(
    fake: Tensor, real: Tensor, adversary: Adversary | None, lr: float, spectral_weight: float = 10.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """The generator's loss and its figures; the adversary, if any, learns first.

    Of more fakes than real waves, the first ones are held against these, the others by the adversary alone.
    """
    if adversary is None:
        spectral = spectral_loss(fake, real)
        return spectral_weight * spectral, {"spectral": spectral}
    learnt, wanted = adversary.learn(fake, real, lr)
    spectral = spectral_loss(fake[: len(real)], real)
    adversarial, matching = adversary.judge(fake, wanted)
    figures = {"spectral": spectral, "adversarial": adversarial, "matching": matching, "discriminators": learnt}
    return spectral_weight * spectral + adversarial + 2 * matching, figures


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    generator, adversary = new_generator(), Adversary()
    optimizer = torch.optim.AdamW(generator.parameters(), lr=args.lr, betas=(0.8, 0.99))
    parts = {"optimizer": optimizer, "discriminators": adversary.nets, "d_optimizer": adversary.optimizer}
    run = Run("vocoder", args.work / "vocoder.pt", args.steps, generator, parts, save_every=100)
    segments = Segments(args.work, run.rng(args.seed))
    for step in run:
        z, real = segments.batch()
        lr = args.lr * min(1, (step + 1) / 100) * min(1, max(0.1, (args.steps - step) / (args.steps * 0.4)))
        with torch.autocast("cpu", torch.bfloat16):
            fake = generator(z + DITHER * torch.randn_like(z))
        loss, figures = generator_loss(fake.float(), real, adversary if step >= args.gan_from else None, lr / 2)
        optimizer.param_groups[0]["lr"] = lr
        descend(loss, optimizer, 20.0)
        if run.done(**figures):
            segments.refresh()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--gan-from", type=int, default=1500)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
