"""The official weights of AnchorFormer (https://github.com/hyzhang98/AnchorFormer): timm's layout but in the attention.

``x_to_emb`` holds keys and values, ``dist_anchor_B`` the anchors as the weight of a linear layer, ``to_out.0`` the
projection.
"""

from collections.abc import Mapping

from torch import Tensor

from effvit_mm.backbones import AnchorDeiT
from effvit_mm.checkpoint.deit_keys import rename_plain
from effvit_mm.checkpoint.key_map import Renamed, num_rows

_BLOCK_PARTS = {
    "attn.x_to_emb.": "mixer.key_value.",
    "attn.dist_anchor_B.weight": "mixer.anchors",
    "attn.to_out.0.": "mixer.proj.",
}


def rename_anchor_deit(weights: Mapping[str, Tensor], variant: str, task: str) -> Renamed:
    """Rename official weights to those of :class:`~effvit_mm.backbones.AnchorDeiT`, or of a classifier over it."""
    renamed = rename_plain(weights, AnchorDeiT, variant, task, _BLOCK_PARTS)
    num_anchors = {num_rows(weights, name) for name in weights if name.endswith(".dist_anchor_B.weight")}
    if len(num_anchors) == 1 and not num_anchors & {None, 30}:
        renamed.overrides["num_anchors"] = num_anchors.pop()
    return renamed
