"""Sizes of models small enough to run in every test; imports nothing but the sizes' own modules."""

from dataclasses import replace

from sovits_service.models.gpt import GptConfig
from sovits_service.models.sovits.cfm_synthesizer import CfmConfig
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.dit import DitConfig
from sovits_service.models.sovits.hifigan import HifiganConfig

GPT = GptConfig(width=32, heads=2, layers=2, feed_forward=32, phoneme_vocab=40, semantic_vocab=65)
VITS = SovitsConfig(
    inter_channels=8,
    hidden_channels=8,
    filter_channels=16,
    n_heads=2,
    n_layers=2,
    resblock="2",
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 2), (1, 2)),
    upsample_rates=(4, 4),
    upsample_initial_channel=16,
    upsample_kernel_sizes=(8, 8),
    gin_channels=16,
    n_phonemes=40,
    ssl_channels=16,
    codebook_size=64,
    ref_spec_bins=33,
    ref_hidden_channels=8,
    mrte_channels=16,
    n_flows=2,
    sampling_rate=8_000,
    hop_length=16,
    filter_length=64,
)
DIT = DitConfig(channels=16, n_layers=1, head_channels=8, ff_channels=16, text_channels=16, text_layers=1)
CFM = CfmConfig(
    sovits=replace(VITS, version="v4", sampling_rate=32_000, hop_length=640, filter_length=2048, ref_spec_bins=704),
    dit=replace(DIT, text_ff_channels=16),
    bridge_layers=1,
)
VOCODER = HifiganConfig(
    in_channels=100,
    upsample_rates=(10, 6, 8),
    upsample_initial_channel=16,
    upsample_kernel_sizes=(20, 12, 16),
    resblock="2",
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1, 2),),
    gin_channels=0,
)
HUBERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
