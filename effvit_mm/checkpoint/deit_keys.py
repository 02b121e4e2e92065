"""The weights of DeiT in timm's layout, which is the authors' own (https://github.com/facebookresearch/deit).

A distilled network has ``dist_token`` and ``head_dist`` beside ``cls_token`` and ``head``.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from effvit_mm.backbones import DeiT
from effvit_mm.backbones.plain import PATCH_SIZE, Plain
from effvit_mm.checkpoint.key_map import Renamed, num_rows
from effvit_mm.checkpoint.released import shown_shape

_PREFIX = ("cls_token", "dist_token")
DEIT_BLOCK_PARTS = {"attn.": "mixer."}


def rename_deit(weights: Mapping[str, Tensor], variant: str, task: str) -> Renamed:
    """Rename DeiT's weights to those of :class:`~effvit_mm.backbones.DeiT`, or of a classifier over it."""
    return rename_plain(weights, DeiT, variant, task, DEIT_BLOCK_PARTS)


def rename_plain(
    weights: Mapping[str, Tensor], family: type[Plain], variant: str, task: str, block_parts: Mapping[str, str]
) -> Renamed:
    """Rename a plain ViT's weights from timm's layout.

    Args:
        weights: Weights by timm's names.
        family: The class they are for.
        variant: Row of its table.
        task: ``'classifier'`` or ``'backbone'``.
        block_parts: Our part of a name inside a block, by the released one; each released part is the beginning of it.
    """
    renamed = Renamed()
    prefix = "backbone." if task == "classifier" else ""
    last = family.sizes(variant)["depth"] - 1
    for theirs, value in weights.items():
        if theirs in _PREFIX:
            continue
        if re.fullmatch(r"head(_dist)?\.(weight|bias)", theirs):
            if task == "backbone":
                renamed.dropped[theirs] = "the classifier's head"
            else:
                renamed.weights[theirs] = theirs, value
        elif (ours := _rename(theirs, last, block_parts)) is None:
            renamed.unexpected[theirs] = "no name of this format"
        else:
            renamed.weights[prefix + ours] = theirs, value
    tokens = [name for name in _PREFIX if name in weights]
    shapes = {weights[name].shape for name in tokens}
    if len(shapes) == 1 and len(shapes.pop()) == 3:
        joined = torch.cat([weights[name] for name in tokens], dim=1)
        renamed.weights[f"{prefix}prefix.tokens"] = " + ".join(tokens), joined
    else:
        odd = {name: f"has shape {shown_shape(weights[name])}; tokens are 1x1xC, all of one C" for name in tokens}
        renamed.unexpected.update(odd)
    _find_overrides(renamed, weights, family, variant, task, len(tokens))
    return renamed


def _rename(theirs: str, last: int, block_parts: Mapping[str, str]) -> str | None:
    if theirs == "pos_embed":
        return "positions.table"
    if match := re.fullmatch(r"patch_embed\.proj\.(weight|bias)", theirs):
        return f"patch_embed.{match[1]}"
    if match := re.fullmatch(r"norm\.(weight|bias)", theirs):
        return f"norms.{last}.{match[1]}"
    if match := re.fullmatch(r"blocks\.(\d+)\.((attn|mlp|norm[12])\..*)", theirs):
        part = next((part for part in block_parts if match[2].startswith(part)), "")
        return f"blocks.{match[1]}.{block_parts.get(part, '')}{match[2].removeprefix(part)}"
    return None


def _find_overrides(
    renamed: Renamed, weights: Mapping[str, Tensor], family: type[Plain], variant: str, task: str, num_prefix: int
) -> None:
    """Read off the weights what they need beside the variant: classes, prefix tokens, size of the position table."""
    if task == "classifier" and (num_classes := num_rows(weights, "head.weight")) not in (None, 1000):
        renamed.overrides["num_classes"] = num_classes
    if num_prefix not in (0, family.default_num_prefix):
        renamed.overrides["num_prefix"] = num_prefix
    table = weights.get("pos_embed")
    if table is not None and table.ndim == 3:
        size = PATCH_SIZE * math.isqrt(max(table.shape[1] - num_prefix, 1))
        if size != family.sizes(variant)["pretrain_img_size"]:
            renamed.overrides["pretrain_img_size"] = size
