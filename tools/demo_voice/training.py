"""What the training stages have in common: resuming, a moving average of the weights, checkpoints and progress."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

REPORT_EVERY = 50


def loadable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Checkpoint keys of weight norm to those that the parametrised modules load."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    out = {}
    for key, value in state.items():
        module, dot, name = key.rpartition(".")
        out[module + dot + names.get(name, name)] = value
    return out


def averaged(path: Path) -> tuple[dict[str, Tensor], int]:
    """The averaged weights of a checkpoint, ready to load, and its step."""
    saved = torch.load(path, weights_only=True)
    return loadable(saved["average"]), saved["step"]


def descend(loss: Tensor, optimizer: Optimizer, clip: float) -> None:
    """One step of an optimizer, its gradients clipped together."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()


class Run:
    """A stage from its last checkpoint on.

    Args:
        name: for the lines that it prints.
        path: the checkpoint; what it lacks of `parts` stays as it is.
        steps: where the stage ends.
        model: what is averaged.
        parts: everything else whose state is kept: optimizers, discriminators.
        save_every: steps between checkpoints.
        decay: of the moving average.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        steps: int,
        model: nn.Module,
        parts: Mapping[str, nn.Module | Optimizer],
        *,
        save_every: int = 250,
        decay: float = 0.998,
    ) -> None:
        self.name, self.path, self.steps, self.model, self.parts = name, path, steps, model, parts
        self.save_every, self.decay = save_every, decay
        self.step = 0
        self.average = {key: value.clone() for key, value in model.state_dict().items()}
        if path.exists():
            saved = torch.load(path, weights_only=True)
            self.step, self.average = saved["step"], saved["average"]
            model.load_state_dict(loadable(saved["model"]))
            for key, part in parts.items():
                if key in saved:
                    part.load_state_dict(loadable(saved[key]) if isinstance(part, nn.Module) else saved[key])
        self._bar = tqdm(total=steps, initial=self.step, desc=name, disable=None)
        self._figures: dict[str, list[float]] = {}
        self._started = time.monotonic()

    def __iter__(self) -> Iterator[int]:
        """The steps that are left, each to end with `done`."""
        while self.step < self.steps:
            yield self.step
        self._bar.close()

    def rng(self, seed: int) -> random.Random:
        """Choices for the steps from here on: seeded, and others after each resumption."""
        return random.Random(seed + self.step)

    def set_lr(self, optimizer: Optimizer, peak: float, *, warmup: int = 150, floor: float = 2e-5) -> None:
        """A short rise, then half a cosine down to `floor` at the last step."""
        lr = peak * min(1, (self.step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * self.step / self.steps)) + floor
        for group in optimizer.param_groups:
            group["lr"] = lr

    def done(self, **figures: Tensor | float) -> bool:
        """Counts a step with its figures; whether a checkpoint has just been written."""
        self.step += 1
        self._bar.update()
        decay = min(self.decay, self.step / (self.step + 20))
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)
            else:
                self.average[key].copy_(value)
        for key, figure in figures.items():
            value = float(figure.detach()) if isinstance(figure, Tensor) else figure
            self._figures.setdefault(key, []).append(value)
        if self.step % REPORT_EVERY == 0:
            seconds = (time.monotonic() - self._started) / REPORT_EVERY
            means = " ".join(f"{name} {statistics.mean(values):.3f}" for name, values in self._figures.items())
            self.say(f"{means} {seconds:.2f} s/step")
            self._figures, self._started = {}, time.monotonic()
        if self.step % self.save_every and self.step != self.steps:
            return False
        state = {"model": self.model.state_dict(), "average": self.average, "step": self.step}
        torch.save(state | {k: p.state_dict() for k, p in self.parts.items()}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)
        return True

    def say(self, line: str) -> None:
        """Print a line above the progress bar."""
        tqdm.write(f"{self.name} {self.step} {line}")

    def smooth(self, fresh: nn.Module) -> nn.Module:
        """`fresh` with the averaged weights, for evaluation."""
        fresh.load_state_dict(loadable(self.average))
        return fresh.eval()
