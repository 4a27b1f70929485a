"""Stage 3a: latents of real speech in, a trained HiFi-GAN `dec` out; no text is needed."""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import features
import torch
import torch.nn.functional as F
from sizes import SOVITS
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sovits_service.audio.dsp import mel_filters
from sovits_service.models.sovits.hifigan import Hifigan, HifiganConfig
from sovits_service.models.sovits.weight_norm import add_weight_norm

FRAMES, BATCH = 24, 12


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


def new_discriminators() -> nn.ModuleList:
    return nn.ModuleList(
        [*(PeriodDiscriminator(p) for p in (3, 5, 7)), *(SpectrumDiscriminator(f) for f in (512, 1280))]
    )


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


class Segments:
    """Random windows of latents and wave, mostly of the shipped voices; grows as stage 1 goes on."""

    def __init__(self, work: Path, seed: int, predict: Callable[[features.Utterance], Tensor] | None = None) -> None:
        self.work, self.rng, self.predict = work, random.Random(seed), predict
        self.predicted: dict[int, Tensor] = {}
        self.loaded: set[str] = set()
        self.shipped: list[features.Utterance] = []
        self.others: list[features.Utterance] = []
        self.refresh()
        self.latents = features.Latents(work, self.shipped + self.others)

    def refresh(self) -> None:
        for row in features.c.read_rows(self.work / "utterances.jsonl"):
            key = str(row["id"])
            if key in self.loaded or features.held_out(key):
                continue
            self.loaded.add(key)
            utterance = features.load(self.work, row)
            if len(utterance.wave) > (FRAMES + 2) * features.HOP:
                (self.shipped if utterance.speaker in features.SHIPPED else self.others).append(utterance)

    def batch(self) -> tuple[Tensor, Tensor]:
        """(B, 96, T) latents and (B, 1, T * 640) samples."""
        zs, waves = [], []
        for index in range(BATCH):
            only_shipped = self.predict is not None or index < BATCH * 5 // 6
            u = self.rng.choice(self.shipped if only_shipped else self.others)
            z = self.latents(u)
            if self.predict and index % 4:  # most windows as the prior will give them
                if id(u) not in self.predicted:
                    self.predicted[id(u)] = self.predict(u).half()
                z = self.predicted[id(u)]
            start = self.rng.randint(0, len(z) - FRAMES)
            zs.append(z[start : start + FRAMES].float().t())
            waves.append(u.samples()[start * features.HOP : (start + FRAMES) * features.HOP])
        return torch.stack(zs), torch.stack(waves)[:, None]


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    generator, discriminators = new_generator(), new_discriminators()
    g_opt = torch.optim.AdamW(generator.parameters(), lr=args.lr, betas=(0.8, 0.99))
    d_opt = torch.optim.AdamW(discriminators.parameters(), lr=args.lr / 2, betas=(0.8, 0.99))
    average = {k: v.clone() for k, v in generator.state_dict().items()}
    path, step = args.work / "vocoder.pt", 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        generator.load_state_dict(legacy_to_new(saved["generator"]))
        average, step = saved["average"], saved["step"]
        g_opt.load_state_dict(saved["g_opt"])
        if "discriminators" in saved:
            discriminators.load_state_dict(saved["discriminators"])
            d_opt.load_state_dict(saved["d_opt"])
    predict = None
    if args.predicted:
        from prior import Predictor

        predict = Predictor(args.work)
    segments = Segments(args.work, args.seed + step, predict)
    print(
        f"vocoder: {len(segments.shipped)} + {len(segments.others)} utterances, "
        f"latents keep {segments.latents.kept:.3f}",
        flush=True,
    )
    started, sums = time.monotonic(), [0.0] * 4
    while step < args.steps:
        z, real = segments.batch()
        z = z + args.dither * torch.randn_like(z)
        gan = step >= args.gan_from
        lr = (
            args.lr
            * min(1, (step + 1) / 100)
            * (1 if step < args.steps * 0.6 else max(0.1, (args.steps - step) / (args.steps * 0.4)))
        )
        for optimizer, factor in ((g_opt, 1.0), (d_opt, 0.5)):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
        with torch.autocast("cpu", torch.bfloat16):
            fake = generator(z)
        fake = fake.float()
        if gan:
            d_loss = fake.new_zeros(())
            with torch.autocast("cpu", torch.bfloat16):
                for d in discriminators:
                    d_loss = d_loss + ((1 - d(real)[0].float()) ** 2).mean() + (d(fake.detach())[0].float() ** 2).mean()
            d_opt.zero_grad(set_to_none=True)
            d_loss.backward()
            nn.utils.clip_grad_norm_(discriminators.parameters(), 5.0)
            d_opt.step()
            sums[2] += float(d_loss.detach())
        spectral = spectral_loss(fake, real)
        loss = 10 * spectral
        if gan:
            adversarial, matching = fake.new_zeros(()), fake.new_zeros(())
            with torch.autocast("cpu", torch.bfloat16):
                for d in discriminators:
                    score, maps = d(fake)
                    with torch.no_grad():
                        _, wanted = d(real)
                    adversarial = adversarial + ((1 - score.float()) ** 2).mean()
                    matching = matching + sum(
                        F.l1_loss(a.float(), b.float()) for a, b in zip(maps, wanted, strict=False)
                    ) / len(maps)
            loss = loss + adversarial * args.adversarial + 2 * matching
            sums[1] += float(adversarial.detach())
            sums[3] += float(matching.detach())
        g_opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 20.0)
        g_opt.step()
        step += 1
        decay = min(0.998, step / (step + 20))
        for key, value in generator.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        sums[0] += float(spectral.detach())
        if step % 50 == 0:
            names = ("spectral", "adversarial", "discriminators", "matching")
            report = " ".join(f"{name} {value / 50:.3f}" for name, value in zip(names, sums, strict=False))
            print(f"vocoder {step} {report} {(time.monotonic() - started) / 50:.2f} s/step", flush=True)
            started, sums = time.monotonic(), [0.0] * 4
        if step % 100 == 0 or step == args.steps:
            state = {"generator": generator.state_dict(), "average": average, "step": step, "g_opt": g_opt.state_dict()}
            if gan:
                state |= {"discriminators": discriminators.state_dict(), "d_opt": d_opt.state_dict()}
            torch.save(state, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
            segments.refresh()
            started = time.monotonic()


def legacy_to_new(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Checkpoint keys of weight norm to those that the parametrised modules load."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {
        (key.rsplit(".", 1)[0] + "." + names[key.rsplit(".", 1)[1]] if key.rsplit(".", 1)[-1] in names else key): value
        for key, value in state.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--gan-from", type=int, default=1500)
    parser.add_argument("--adversarial", type=float, default=1.0)
    parser.add_argument("--dither", type=float, default=0.1)
    parser.add_argument("--predicted", action="store_true", help="tune on the latents that the trained prior predicts")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
