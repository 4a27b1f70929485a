"""The sizes of the demo's networks, which the packed checkpoints carry in their configs."""

from __future__ import annotations

from sovits_service.models.sovits.config import SovitsConfig

SSL_CHANNELS = 256
SOVITS = SovitsConfig(
    version="v2",
    inter_channels=96,
    hidden_channels=128,
    filter_channels=192,
    n_heads=2,
    n_layers=4,
    kernel_size=3,
    p_dropout=0.0,
    resblock="2",
    resblock_kernel_sizes=(3, 5, 7),
    resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
    upsample_rates=(10, 4, 4, 4),
    upsample_initial_channel=256,
    upsample_kernel_sizes=(20, 8, 8, 8),
    gin_channels=128,
    ssl_channels=SSL_CHANNELS,
    ref_hidden_channels=96,
    mrte_channels=128,
    flow_wavenet_layers=2,
)
