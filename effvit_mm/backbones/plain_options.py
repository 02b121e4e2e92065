"""What a columnar network is told: its sizes, its options, and which of them it refuses."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from effvit_mm.backbones.choices import Spec, check_drop_path_rate
from effvit_mm.backbones.dense_backbone import STRIDES

PATCH_SIZE = 16


class PlainSizes(TypedDict):
    """One row of a table of variants."""

    dim: int
    depth: int
    num_heads: int
    mlp_ratio: int
    drop_path_rate: float
    pretrain_img_size: int


class PlainOptions(TypedDict, total=False):
    """What every family of columnar networks takes beside its own arguments; :class:`Plain` documents them."""

    dim: int
    depth: int
    num_heads: int
    mlp_ratio: int
    drop_path_rate: float
    pretrain_img_size: int
    mlp: Spec
    stem: Spec | None
    num_prefix: int
    class_token: bool
    taps: Sequence[int]
    out_channels: int | None
    norm_eps: float
    out_indices: Sequence[int]
    frozen_stages: int
    norm_eval: bool
    with_cp: bool
    init_cfg: dict | list[dict] | None


def refuse_convolutions(options: Mapping[str, Any], why: str) -> None:
    """Check that the MLP of a network that leaves tokens out knows no neighbours.

    Raises:
        ValueError: If it is of another kind than ``'plain'``.
    """
    mlp = options.get("mlp", "plain")
    if (mlp.get("type") if isinstance(mlp, Mapping) else mlp) != "plain":
        raise ValueError(f"mlp={mlp!r} must be 'plain': {why}")


def check_numbers(sizes: Mapping[str, Any], num_prefix: int) -> None:
    """Check the sizes of a network and its number of prefix tokens.

    Raises:
        ValueError: If one is out of range.
    """
    check_drop_path_rate(sizes["drop_path_rate"])
    if sizes["depth"] < 1:
        raise ValueError(f"depth={sizes['depth']} must be at least 1 block")
    if sizes["pretrain_img_size"] < PATCH_SIZE:
        raise ValueError(
            f"pretrain_img_size={sizes['pretrain_img_size']} is the side in pixels of the pictures the position table "
            f"is stored for; it must be at least {PATCH_SIZE}, such as 224"
        )
    if num_prefix < 0:
        raise ValueError(f"num_prefix={num_prefix} must be 0 (none) or more tokens")


def checked_taps(taps: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """Return the blocks that are tapped: those given, or the last.

    Raises:
        ValueError: If they are not one block, or four in rising order.
    """
    blocks = tuple(taps) if isinstance(taps, Sequence) else (depth - 1,) if taps is None else ()
    if len(blocks) not in (1, 4) or list(blocks) != sorted({*blocks} & {*range(depth)}):
        raise ValueError(
            f"taps={taps!r} must be one block of 0 to {depth - 1}, such as ({depth - 1},), or four in "
            f"rising order, one for each of the strides {STRIDES}"
        )
    return blocks
