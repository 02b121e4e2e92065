"""DeiT's weights under the names of AnchorFormer's columnar form: what the two share, and what is folded into it.

Anchor attention has no queries. Its keys and values are DeiT's. The bias of the values goes into that of the
projection, exactly: the walk's rows sum to 1, so that what is added to every value is added to every result.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from effvit_mm.backbones import AnchorDeiT
from effvit_mm.checkpoint.anchor_deit_keys import rename_anchor_deit
from effvit_mm.checkpoint.anchor_start import AnchorStart
from effvit_mm.checkpoint.deit_keys import DEIT_BLOCK_PARTS, rename_plain
from effvit_mm.checkpoint.key_map import KeyMap, Renamed
from effvit_mm.errors import BadInputError

_FATES = {
    "drop": "the keys' bias, which the paper's projection does not have; --key-bias keep adds one",
    "center": "the keys' bias; centered keys do not depend on it",
}


def with_anchors(key_map: KeyMap, source: Mapping[str, Tensor], name: str, anchors: AnchorStart | None) -> KeyMap:
    """Choose the key map that starts anchors where they are asked for.

    Args:
        key_map: That of the released format.
        source: Weights by the source's names.
        name: The network they are for.
        anchors: How anchors are to be found, if they are.

    Raises:
        BadInputError: If they have to be asked for and are not, or the other way round.
    """
    to_anchors = key_map is rename_anchor_deit
    if anchors is None:
        if to_anchors and is_deit(source):
            raise BadInputError(
                f"these are weights of DeiT, which have no anchors for {name}. Anchors are found from pictures: give "
                f"--images DIR, a folder of some hundred like those the network will see (in Python, "
                f"anchors=AnchorStart(DIR)); or convert to {name.removeprefix('anchor_')}"
            )
        return key_map
    if not to_anchors or not is_deit(source):
        found = "these are not DeiT's" if to_anchors else f"{name} has none"
        raise BadInputError(
            f"--images {anchors.images} is for starting the anchors of anchor_deit_* from DeiT's weights (timm's "
            f"layout), and {found}; leave it out"
        )
    return partial(rename_deit_for_anchors, num_anchors=anchors.num_anchors, key_bias=anchors.key_bias)


def is_deit(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether weights are those of softmax attention in DeiT's layout."""
    return any(name.endswith(".attn.qkv.weight") for name in weights) and not any(
        name.endswith(".dist_anchor_B.weight") for name in weights
    )


def rename_deit_for_anchors(
    weights: Mapping[str, Tensor], variant: str, task: str, *, num_anchors: int, key_bias: str
) -> Renamed:
    """Rename DeiT's weights to those of :class:`~effvit_mm.backbones.AnchorDeiT`, or of a classifier over it.

    Args:
        weights: Weights by timm's names.
        variant: Row of its table.
        task: ``'classifier'`` or ``'backbone'``.
        num_anchors: Anchors of each layer; they are 0 here.
        key_bias: ``'keep'``: the projection of keys and values gets a bias, which holds the keys'. ``'drop'`` and
            ``'center'``: it is left out.
    """
    given, copied = _with_second_token(weights, task)
    attention = {name for name in given if name.endswith((".attn.qkv.weight", ".attn.qkv.bias"))}
    rest = {name: value for name, value in given.items() if name not in attention}
    renamed = rename_plain(rest, AnchorDeiT, variant, task, DEIT_BLOCK_PARTS)
    for ours, (theirs, value) in renamed.weights.items():
        parts = [copied.get(part, part) for part in theirs.split(" + ")]
        renamed.weights[ours] = " + ".join(parts), value
    _tell_copies(renamed, copied, task)
    sizes = AnchorDeiT.sizes(variant)
    for name in sorted(name for name in attention if name.endswith("weight")):
        layer = name.removesuffix("qkv.weight")
        ours = ("backbone." if task == "classifier" else "") + layer.replace("attn.", "mixer.")
        _convert_projections(renamed, weights, layer, ours, key_bias)
        anchors = torch.zeros(num_anchors, sizes["dim"] // sizes["num_heads"])
        renamed.weights[f"{ours}anchors"] = f"anchors of {layer}", anchors
    if num_anchors != 30:
        renamed.overrides["num_anchors"] = num_anchors
    return renamed


def _with_second_token(weights: Mapping[str, Tensor], task: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Add a distillation token with position and head, copies of the class token's, where the source has none.

    Returns:
        The weights, and by added name the name it was copied from.
    """
    given, copied = dict(weights), {}
    positions = given.get("pos_embed")
    if "cls_token" in given and "dist_token" not in given and positions is not None and positions.ndim == 3:
        copied["dist_token"] = "cls_token"
        given["pos_embed"] = torch.cat([positions[:, :1], positions], dim=1)
    if task == "classifier":
        for leaf in ("weight", "bias"):
            if f"head.{leaf}" in given and f"head_dist.{leaf}" not in given:
                copied[f"head_dist.{leaf}"] = f"head.{leaf}"
    given.update({name: given[source] for name, source in copied.items()})
    return given, copied


def _tell_copies(renamed: Renamed, copied: Mapping[str, str], task: str) -> None:
    prefix = "backbone." if task == "classifier" else ""
    if "dist_token" in copied:
        why = "the class token's, since the source has no dist_token"
        renamed.made[f"{prefix}prefix.tokens[:, 1]"] = f"a copy of cls_token, {why}"
        renamed.made[f"{prefix}positions.table[:, 1]"] = f"a copy of pos_embed[:, 0], {why}"
    heads = {name: source for name, source in copied.items() if name != "dist_token"}
    renamed.made.update({name: f"a copy of {source}, since the source has no {name}" for name, source in heads.items()})


def _convert_projections(renamed: Renamed, weights: Mapping[str, Tensor], layer: str, ours: str, key_bias: str) -> None:
    """Split ``qkv``, and fold the bias of the values into that of the projection."""
    theirs = f"{layer}qkv.weight"
    qkv = weights[theirs]
    dim = qkv.shape[0] // 3 if qkv.ndim else 0
    renamed.weights[f"{ours}key_value.weight"] = theirs, qkv[dim:] if qkv.ndim else qkv
    renamed.dropped[f"{theirs}[:{dim}]"] = "queries, which anchor attention has none of"
    theirs = f"{layer}qkv.bias"
    bias, proj, proj_bias = (weights.get(f"{layer}{name}") for name in ("qkv.bias", "proj.weight", "proj.bias"))
    if bias is None:
        return
    if (
        proj is None
        or proj_bias is None
        or (bias.shape, proj.shape, proj_bias.shape) != ((3 * dim,), (dim, dim), (dim,))
    ):
        renamed.unexpected[theirs] = f"has shape {tuple(bias.shape)} and cannot be folded into {layer}proj.bias"
        return
    # Added up in double, so that a fold costs no more than the rounding of its result.
    folded = proj_bias.double() + proj.double() @ bias[2 * dim :].double()
    renamed.weights[f"{ours}proj.bias"] = f"{layer}proj.bias + {theirs}", folded
    renamed.dropped[f"{theirs}[:{dim}]"] = "queries' bias"
    if key_bias == "keep":
        kept = torch.cat([bias[dim : 2 * dim], torch.zeros_like(bias[2 * dim :])])
        renamed.weights[f"{ours}key_value.bias"] = theirs, kept
        renamed.overrides["qkv_bias"] = True
    else:
        renamed.dropped[f"{theirs}[{dim}:{2 * dim}]"] = _FATES[key_bias]
