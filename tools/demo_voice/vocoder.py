"""Stage 3a: latents of real speech in, a trained HiFi-GAN `dec` out; no text is needed."""

from __future__ import annotations

import argparse
import copy
import itertools
import random
from collections.abc import Sequence
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
        # Rows of their own with the channels side by side take half the time of (B, 1, T / period, period).
        x = x.transpose(2, 3).flatten(0, 2)[:, None, None].contiguous(memory_format=torch.channels_last)
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(F.conv2d(x, layer.weight.transpose(2, 3), layer.bias, (1, 3), (0, 2)), 0.1)
            maps.append(x.unflatten(0, (-1, self.period)))
        score = F.conv2d(x, self.post.weight.transpose(2, 3), self.post.bias, padding=(0, 1))
        return score.unflatten(0, (-1, self.period)), maps


class SpectrumDiscriminator(nn.Module):
    """Judges the log spectrum at one resolution (UnivNet, arXiv 2106.07889), narrow."""

    def __init__(self, fft: int) -> None:
        super().__init__()
        self.fft = fft
        strides = ((1, 2), (1, 2), (2, 2), (1, 2))
        widths = (1, 16, 24, 32, 48)
        self.layers = nn.ModuleList(
            parametrizations.weight_norm(nn.Conv2d(a, b, (3, 7), s, (1, 3)))
            for a, b, s in zip(widths, widths[1:], strides, strict=False)
        )
        self.post = parametrizations.weight_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, spectrum: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of (B, T, fft // 2 + 1) magnitudes."""
        x = torch.log(spectrum[:, :, : self.fft * 3 // 8] + 1e-3)[:, None]  # up to 12 kHz
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            maps.append(x)
        return self.post(x), maps


def spectrum(waves: Tensor, fft: int) -> Tensor:
    """(B, 1, T) to (B, (T - fft) // (fft // 4) + 1, fft // 2 + 1) magnitudes."""
    window = torch.hann_window(fft)
    complex_ = torch.stft(waves[:, 0].float(), fft, fft // 4, window=window, center=False, return_complex=True)
    return complex_.abs().transpose(1, 2)


class Recorded:
    """Windows of recordings as the tokens time them, for what is synthesised of the tokens.

    Args:
        windows: each an utterance, its first frame and the number of frames.
    """

    def __init__(self, windows: Sequence[tuple[features.Utterance, int, int]]) -> None:
        margin, waves, self._places = features.FFT // 2, [], []
        for utterance, first, n_frames in windows:
            n_samples = n_frames * features.HOP
            places = utterance.places(torch.arange(first * features.HOP, first * features.HOP + n_samples))
            start, length = int(places[0]), max(int(places[-1] - places[0]), n_samples)
            wave = F.pad(utterance.samples(), (margin, margin + length))
            waves.append(wave[start : start + length + 2 * margin])
            self._places.append(places - start + margin)
        longest = max(map(len, waves))
        self._waves = torch.stack([F.pad(wave, (0, longest - len(wave))) for wave in waves])
        self.waves = self._waves[:, None, margin : margin + n_samples]  # (B, 1, T) in their own time
        self.own_time = all(bool((places.diff() == 1).all()) for places in self._places)

    def __len__(self) -> int:
        return len(self._waves)

    def crop(self, samples: slice) -> Recorded:
        """Of each window a part."""
        part = copy.copy(self)
        part._places = [places[samples] for places in self._places]
        part.waves = self.waves[..., samples]
        return part

    def spectrum(self, fft: int) -> Tensor:
        """As `spectrum`, in the tokens' time."""
        rows = [
            features.magnitudes(wave, places[fft // 2 : len(places) - fft // 2 + 1 : fft // 4], fft)
            for wave, places in zip(self._waves, self._places, strict=True)
        ]
        return torch.stack(rows)


def spectral_loss(fake: Tensor, real: Recorded) -> Tensor:
    """Multi-resolution log-magnitude and mel distance of (B, 1, T) waves."""
    total = fake.new_zeros(())
    for fft, n_mels in ((320, 40), (1024, 80), (2048, 128)):
        a, b = spectrum(fake, fft), real.spectrum(fft)
        mel = torch.from_numpy(mel_filters(features.RATE_HZ, fft, n_mels)).t()
        total = total + F.l1_loss(torch.log(a @ mel + 1e-4), torch.log(b @ mel + 1e-4))
        a, b = a[..., : fft * 3 // 8], b[..., : fft * 3 // 8]
        total = total + 0.5 * F.l1_loss(torch.log(a + 1e-3), torch.log(b + 1e-3))
        total = total + 0.5 * torch.linalg.vector_norm(a - b) / (torch.linalg.vector_norm(b) + 1e-3)
    return total / 3


class Adversary:
    """The discriminators with their optimizer (least squares, feature matching: HiFi-GAN's losses).

    Where recordings are as the tokens time them, their spectra's features alone can be matched.
    """

    def __init__(self) -> None:
        self.nets = nn.ModuleList(
            [*(PeriodDiscriminator(p) for p in (3, 5, 7)), *(SpectrumDiscriminator(f) for f in (512, 1280))]
        )
        self.optimizer = torch.optim.AdamW(self.nets.parameters(), lr=1e-3, betas=(0.8, 0.99))

    def learn(self, fake: Tensor, real: Recorded, lr: float) -> tuple[Tensor, list[list[Tensor]]]:
        """One step of the discriminators; its loss, and the feature maps of `real` that are to be matched."""
        loss, wanted, n = fake.new_zeros(()), [], len(real)
        fake = fake.detach()
        with torch.autocast("cpu", torch.bfloat16):
            for net in self.nets:
                if isinstance(net, SpectrumDiscriminator):
                    score, maps = net(torch.cat([real.spectrum(net.fft), spectrum(fake, net.fft)]))
                else:
                    score, maps = net(torch.cat([real.waves, fake]))
                    maps = maps if real.own_time else []
                wanted.append([m[:n].detach() for m in maps])
                loss = loss + ((1 - score[:n].float()) ** 2).mean() + (score[n:].float() ** 2).mean()
        self.optimizer.param_groups[0]["lr"] = lr
        descend(loss, self.optimizer, 5.0)
        return loss.detach(), wanted

    def judge(self, fake: Tensor, wanted: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """The generator's adversarial loss, and its feature matching loss for the first, which have a recording."""
        adversarial, matching = fake.new_zeros(()), fake.new_zeros(())
        with torch.autocast("cpu", torch.bfloat16):
            for net, real_maps in zip(self.nets, wanted, strict=True):
                score, maps = net(spectrum(fake, net.fft) if isinstance(net, SpectrumDiscriminator) else fake)
                adversarial = adversarial + ((1 - score.float()) ** 2).mean()
                if real_maps:
                    pairs = zip(maps, real_maps, strict=True)
                    matching = matching + sum(F.l1_loss(a[: len(b)].float(), b.float()) for a, b in pairs) / len(maps)
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
        for utterance in map(features.Utterance.in_own_time, features.fresh(self.work, self.loaded)):
            if 2 * len(utterance.tokens.codes) > FRAMES + 2:
                (self.shipped if utterance.speaker in features.SHIPPED else self.others).append(utterance)

    def batch(self) -> tuple[Tensor, Recorded]:
        """(B, 96, T) latents and what was recorded."""
        zs, windows = [], []
        for index in range(BATCH):
            u = self.rng.choice(self.others if index == 0 else self.shipped)
            z = self.latents(u)
            start = self.rng.randint(0, len(z) - FRAMES)
            zs.append(z[start : start + FRAMES].float().t())
            windows.append((u, start, FRAMES))
        return torch.stack(zs), Recorded(windows)


def generator_loss(
    fake: Tensor,
    real: Recorded,
    adversary: Adversary | None,
    lr: float,
    spectral_weight: float = 10.0,
    trust: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The generator's loss and its figures; the adversary, if any, learns first.

    Of more fakes than recordings, the first ones are held against these, the others by the adversary alone. `trust`
    weights all that the adversary says.
    """
    if adversary is None:
        spectral = spectral_loss(fake, real)
        return spectral_weight * spectral, {"spectral": spectral}
    spectral = spectral_loss(fake[: len(real)], real)
    start = int(torch.randint(0, fake.shape[-1] - FRAMES * features.HOP + 1, ()))
    judged = slice(start, start + FRAMES * features.HOP)
    learnt, wanted = adversary.learn(fake[..., judged], real.crop(judged), lr)
    adversarial, matching = adversary.judge(fake[..., judged], wanted)
    figures = {"spectral": spectral, "adversarial": adversarial, "matching": matching, "discriminators": learnt}
    return spectral_weight * spectral + trust * (adversarial + 2 * matching), figures


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
