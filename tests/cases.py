"""One row per mixer, backbone and family of configs: what the contract tests run over."""

from pathlib import Path

from effvit_mm.backbones import LIT, AnchorDeiT, AnchorFormer, DeiT, Plain, Pyramid, ToSADeiT
from effvit_mm.layers import AnchorAttention, RelativePositionAttention, SelfAttention

ROOT = Path(__file__).parents[1]

# (dim, num_heads) -> mixer
MIXERS = {
    "self": lambda dim, heads: SelfAttention(dim, heads),
    "relative": lambda dim, heads: RelativePositionAttention(dim, heads, table_grid=(3, 4)),
    "anchor_cosine": lambda dim, heads: AnchorAttention(dim, heads, num_anchors=5),
    "anchor_paper": lambda dim, heads: AnchorAttention(dim, heads, num_anchors=5, mode="paper"),
    "anchor_local": lambda dim, heads: AnchorAttention(dim, heads, num_anchors=5, local="dwconv", shared_anchors=False),
}

# Small enough for float64 on a laptop, every number a different one.
SMALL = dict(channels=(8, 12, 20, 24), depths=(1, 2, 1, 1), num_heads=(1, 2, 5, 4), mlp_ratios=(4, 3, 2, 1))

SMALL_PLAIN = dict(dim=24, depth=4, num_heads=3, mlp_ratio=2, pretrain_img_size=80)

# (**options) -> backbone
BACKBONES = {
    "pyramid": lambda **options: Pyramid(**{**SMALL, **options}),
    "pyramid_mixed": lambda **options: Pyramid(**{**SMALL, "mixers": (None, None, "self", "anchor"), **options}),
    "anchorformer": lambda **options: AnchorFormer(**{**SMALL, "num_anchors": 7, **options}),
    "lit": lambda **options: LIT(**{**SMALL, "pretrain_img_size": 96, **options}),
    "lit_ti": lambda **options: LIT(**{**SMALL, "variant": "ti", "pretrain_img_size": 96, **options}),
    "plain": lambda **options: Plain(**{**SMALL_PLAIN, "out_channels": 20, **options}),
    "plain_taps": lambda **options: Plain(**{**SMALL_PLAIN, "taps": (0, 1, 2, 3), "mixers": "anchor", **options}),
    "deit": lambda **options: DeiT(**{**SMALL_PLAIN, **options}),
    "tosa_deit": lambda **options: ToSADeiT(**{**SMALL_PLAIN, "num_probes": 5, **options}),
    "anchor_deit": lambda **options: AnchorDeiT(**{**SMALL_PLAIN, "num_anchors": 7, **options}),
}

LEAVES = sorted(path for path in (ROOT / "configs").glob("*/*.py") if not path.parent.name.startswith("_"))
