"""The official weights of LIT (https://github.com/ziplab/LIT, Apache-2.0): two families of names.

The small one, ``ti``, counts stages from 1 (``block3.0.attn...``, ``pos_embed3``); the others from 0
(``layers.2.blocks.0.attn...``). In both, the merging in front of a stage is stored elsewhere than here: ``layers.1``
holds the one behind it. Files of detectors and segmenters have norms ``norm0`` to ``norm3`` on their outputs and, but
for ``ti``, bias tables for larger pictures.
"""

import math
import re
from collections.abc import Mapping

from torch import Tensor

from effvit_mm.checkpoint.key_map import Renamed, num_rows

_NORM = "the classifier's norm; dense outputs have norms of their own"
_DROPPED = {
    r"head\..*": "the classifier's head",
    r"norm\.(weight|bias)": _NORM,
    r"cls_token": "the classifier's token",
}
_MERGER_PARTS = {"dconv.conv_offset": "offset", "dconv": "conv", "norm_layer": "norm", "proj": "proj", "norm": "norm"}
_BLOCK_PARTS = {"attn.relative_position_bias_table": "mixer.bias_table", "attn.": "mixer."}


def rename_lit(weights: Mapping[str, Tensor], variant: str, task: str) -> Renamed:
    """Rename official weights of LIT to those of :class:`~effvit_mm.backbones.LIT`, or of a classifier over it."""
    renamed = Renamed()
    to_ours = _rename_ti if variant == "ti" else _rename_swin_like
    prefix = "backbone." if task == "classifier" else ""
    for theirs, value in weights.items():
        why = next((why for pattern, why in _DROPPED.items() if re.fullmatch(pattern, theirs)), None)
        if theirs.endswith(".relative_position_index"):
            renamed.dropped[theirs] = "an index that is computed here"
        elif why and task == "backbone":
            renamed.dropped[theirs] = why
        elif theirs.startswith("head."):
            renamed.weights[theirs] = theirs, value
        elif (ours := _rename_shared(theirs) or to_ours(theirs)) is None:
            renamed.unexpected[theirs] = "no name of this format"
        elif theirs == "pos_embed4" and task == "backbone" and value.ndim == 3:
            renamed.dropped[f"{theirs}[:, :1]"] = "the position of the classifier's token"
            renamed.weights[ours] = theirs, value[:, 1:]
        else:
            renamed.weights[prefix + ours] = theirs, value
    _find_overrides(renamed, weights, variant, task)
    return renamed


def _rename_shared(theirs: str) -> str | None:
    if match := re.fullmatch(r"norm([0-3]?)\.(weight|bias)", theirs):
        return f"norms.{match[1] or 3}.{match[2]}"
    return None


def _rename_ti(theirs: str) -> str | None:
    if theirs == "cls_token":
        return "stages.3.prefix.tokens"
    if match := re.fullmatch(r"pos_embed([1-4])", theirs):
        return f"stages.{int(match[1]) - 1}.positions.table"
    if match := re.fullmatch(r"patch_embed([1-4])\.(.*)\.(\w+)", theirs):
        return _merger(int(match[1]) - 1, match[2], match[3])
    if match := re.fullmatch(r"block([1-4])\.(\d+)\.(.*)", theirs):
        return _block(int(match[1]) - 1, match[2], match[3])
    return None


def _rename_swin_like(theirs: str) -> str | None:
    if match := re.fullmatch(r"patch_embed\.(.*)\.(\w+)", theirs):
        return _merger(0, match[1], match[2])
    if match := re.fullmatch(r"layers\.([0-2])\.downsample\.(.*)\.(\w+)", theirs):
        return _merger(int(match[1]) + 1, match[2], match[3])
    if match := re.fullmatch(r"layers\.([0-3])\.blocks\.(\d+)\.(.*)", theirs):
        return _block(int(match[1]), match[2], match[3])
    return None


def _merger(stage: int, part: str, leaf: str) -> str | None:
    return f"stages.{stage}.merger.{_MERGER_PARTS[part]}.{leaf}" if part in _MERGER_PARTS else None


def _block(stage: int, block: str, rest: str) -> str:
    for theirs, ours in _BLOCK_PARTS.items():
        rest = rest.replace(theirs, ours)
    return f"stages.{stage}.blocks.{block}.{rest}"


def _find_overrides(renamed: Renamed, weights: Mapping[str, Tensor], variant: str, task: str) -> None:
    """Read off the weights what they need beside the variant: classes, table size, norms of the outputs."""
    if task == "classifier" and (num_classes := num_rows(weights, "head.weight")) not in (None, 1000):
        renamed.overrides["num_classes"] = num_classes
    if task == "backbone" and (levels := {int(key[4]) for key in weights if re.match(r"norm[0-3]\.", key)}):
        default = set() if variant == "ti" else {0, 1, 2, 3}
        if levels != default:
            renamed.overrides["output_norms"] = tuple(sorted(levels))
    table = weights.get("pos_embed1")
    size = 4 * math.isqrt(table.shape[1]) if table is not None and table.ndim == 3 else None
    bias_tables = (key for key in weights if re.match(r"layers\.2\..*\.relative_position_bias_table$", key))
    if rows := num_rows(weights, next(bias_tables, "")):
        size = 16 * (math.isqrt(rows) + 1) // 2
    if size not in (None, 224):
        renamed.overrides["pretrain_img_size"] = size
