"""ERes2NetV2 (Chen et al. 2024), the speaker embedding of v2Pro and v2ProPlus: a filter bank in, one vector out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MAX_ACTIVATION = 20.0
_FUSION_REDUCTION = 4


class AttentiveFusion(nn.Module):
    """Mixes two feature maps by weights that a small network draws from both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // _FUSION_REDUCTION
        self.local_att = nn.Sequential(
            nn.Conv2d(channels * 2, inner, 1),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        lean = torch.tanh(self.local_att(torch.cat((x, y), dim=1)))
        return x * (1.0 + lean) + y * (1.0 - lean)


class Block(nn.Module):
    """A Res2Net block; with `fused`, the groups are mixed by attention instead of by addition."""

    def __init__(self, in_channels: int, width: int, scale: int, out_channels: int, stride: int, fused: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width * scale, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width * scale)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(scale))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scale))
        self.fuse_models = nn.ModuleList(AttentiveFusion(width) for _ in range(scale - 1 if fused else 0))
        self.conv3 = nn.Conv2d(width * scale, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        groups = _clip(self.bn1(self.conv1(x))).chunk(len(self.convs), dim=1)
        outputs: list[Tensor] = []
        for index, (group, conv, norm) in enumerate(zip(groups, self.convs, self.bns, strict=True)):
            if outputs:
                before = outputs[-1]
                group = self.fuse_models[index - 1](before, group) if self.fuse_models else before + group
            outputs.append(_clip(norm(conv(group))))
        return _clip(self.bn3(self.conv3(torch.cat(outputs, dim=1))) + self.shortcut(x))


def _clip(x: Tensor) -> Tensor:
    return F.hardtanh(x, 0.0, _MAX_ACTIVATION)


class ERes2NetV2(nn.Module):
    """The network up to its last feature map; the classification layer behind it (`seg_1`) is not used.

    Args:
        channels, base_width, scale, expansion: sizes; the defaults are those of the published w24s4ep4 weights.
        n_blocks: blocks in each of the four stages.
    """

    def __init__(
        self,
        channels: int = 64,
        base_width: int = 24,
        scale: int = 4,
        expansion: int = 4,
        n_blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        n_in = channels

        def stage(number: int) -> nn.Sequential:
            nonlocal n_in
            planes = channels * 2 ** (number - 1)
            width, n_out = planes * base_width // 64, planes * expansion
            blocks = []
            for index in range(n_blocks[number - 1]):
                stride = 2 if index == 0 and number > 1 else 1
                blocks.append(Block(n_in, width, scale, n_out, stride, fused=number > 2))
                n_in = n_out
            return nn.Sequential(*blocks)

        self.layer1, self.layer2, self.layer3, self.layer4 = stage(1), stage(2), stage(3), stage(4)
        top = channels * 8 * expansion
        self.layer3_ds = nn.Conv2d(top // 2, top, 3, stride=2, padding=1, bias=False)
        self.fuse34 = AttentiveFusion(top)

    def forward(self, features: Tensor) -> Tensor:
        """Embed a speaker.

        Args:
            features: (B, T, 80) Kaldi filter bank of 16 kHz speech.

        Returns:
            (B, 20480) mean over time of the last feature map, channels by bands.
        """
        x = F.relu(self.bn1(self.conv1(features.transpose(1, 2).unsqueeze(1))))
        third = self.layer3(self.layer2(self.layer1(x)))
        fused: Tensor = self.fuse34(self.layer4(third), self.layer3_ds(third))
        return fused.flatten(1, 2).mean(-1)
