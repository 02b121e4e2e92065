"""Anchors for a network that starts from DeiT's weights: representatives of the keys that pictures give.

The paper derives its anchors as the representatives of the keys that lose least, and then learns them (Shan et al.,
arXiv 2505.16463). Learning from its random ones starts where all coincide and no gradient tells them apart. Here they
start as k-means centers, at a scale at which tokens choose.
"""

import warnings
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from effvit_mm.backbones.plain import PATCH_SIZE, Plain
from effvit_mm.errors import BadInputError
from effvit_mm.layers import AnchorAttention, Block, Grid
from effvit_mm.layers.anchor_statistics import effective_anchors, row_entropy
from effvit_mm.pictures import read_pictures

KeyBias = Literal["center", "drop", "keep"]

MAX_PICTURES = 1024
_BATCH = 32  # pictures
_NUM_TOKENS = 8192  # whose keys the anchors of a layer are found from
_NUM_ROUNDS = 25  # of k-means
_NUM_HALVINGS = 30
_MAX_SCALE = 2.0**40


@dataclass(frozen=True)
class AnchorStart:
    """How the anchors of a network that starts from DeiT's weights are found.

    Args:
        images: Folder of pictures like those the network will see.
        num_images: How many of them at most, evenly spread; up to 1024.
        num_anchors: Anchors M of each layer.
        key_bias: What becomes of the bias of DeiT's keys, to which softmax attention is blind, as to all that keys
            share; a softmax over anchors is not. ``'center'``: the keys are moved to mean 0 over the pictures by
            ``norm1.bias``, which takes any bias with it; what that does to the values is undone behind the walk,
            exactly. ``'drop'``: it is left out, as the paper's projection has none. ``'keep'``: the projection of keys
            and values gets a bias.
        entropy: Mean entropy of a token's assignment over ``log M`` that the anchors are scaled to.
        seed: Of k-means and the choice of tokens.

    Raises:
        BadInputError: If a number or ``key_bias`` is not allowed.
    """

    images: str | Path
    num_images: int = 256
    num_anchors: int = 30
    key_bias: KeyBias = "drop"
    entropy: float = 0.75
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.num_images <= MAX_PICTURES:
            raise BadInputError(f"num_images={self.num_images} must be 1 to {MAX_PICTURES} pictures")
        if self.num_anchors < 2:
            raise BadInputError(f"num_anchors={self.num_anchors} must be at least 2: one anchor is mean pooling")
        if self.key_bias not in get_args(KeyBias):
            raise BadInputError(f"key_bias={self.key_bias!r} must be one of {', '.join(get_args(KeyBias))}")
        if not 0 < self.entropy < 1:
            raise BadInputError(f"entropy={self.entropy} must be above 0 (a token has one anchor) and below 1 (all)")
        if self.seed < 0:
            raise BadInputError(f"seed={self.seed} must be 0 or more")

    def apply(self, network: nn.Module, weights: MutableMapping[str, Tensor]) -> dict[str, str]:
        """Run a network on the pictures; put its anchors, and what centering its keys moved, into the weights.

        Args:
            network: A columnar network of anchors, or a classifier over one, on the meta device.
            weights: All of it; tensors are replaced, none is changed.

        Returns:
            What was made, by name, and from what.

        Raises:
            BadInputError: If the pictures cannot be used, or the weights hold no values.
        """
        if empty := [name for name, value in weights.items() if value.is_meta]:
            raise BadInputError(f"the source holds no values for {empty[0]} (it is on the meta device); save it anew")
        network.load_state_dict(weights, strict=True, assign=True)
        backbone = cast(Plain, getattr(network, "backbone", network))
        size = PATCH_SIZE * backbone.positions.table_grid[0]
        pictures = read_pictures(self.images, size, num_pictures=self.num_images, named="--images")
        center = self.key_bias == "center"
        facts = start_anchors(backbone, pictures, entropy=self.entropy, center=center, seed=self.seed)
        weights.update(network.state_dict())
        made = {}
        for i, fact in facts.items():
            block = f"{'' if backbone is network else 'backbone.'}blocks.{i}"
            made[f"{block}.mixer.anchors"] = (
                f"k-means centers of keys of {len(pictures)} pictures, times {fact.scale:.3g}: entropy "
                f"{fact.entropy:.2f} of log {self.num_anchors}, {fact.effective:.1f} effective anchors"
            )
            if center:
                made[f"{block}.norm1.bias"] = "its own, less the mean of the normed tokens of the pictures"
        return made


@dataclass(frozen=True)
class AnchorFacts:
    """What the anchors of a layer are like on the pictures they were found from.

    Attributes:
        scale: Factor of the k-means centers.
        entropy: Mean entropy of a token's assignment over ``log M``.
        effective: Trace of the walk, 1 to M.
    """

    scale: float
    entropy: float
    effective: float


@torch.no_grad()
def start_anchors(
    backbone: Plain, pictures: Tensor, *, entropy: float = 0.75, center: bool = False, seed: int = 0
) -> dict[int, AnchorFacts]:
    """Set the anchors of every layer from pictures, from the first block to the last.

    A layer sees the keys that reach it: those behind the layers already converted. They are not DeiT's, since an
    anchor layer is no approximation of the softmax layer whose weights it took, and it is on them that it will work.

    Args:
        backbone: A columnar network of :class:`~effvit_mm.layers.AnchorAttention` in paper mode, anchors shared.
        pictures: ``(P, 3, H, W)``, normalised.
        entropy: As for :class:`AnchorStart`.
        center: Whether each layer's keys are moved to mean 0 first; what the layer computes of values stays.
        seed: As for :class:`AnchorStart`.

    Returns:
        What the anchors are like, by block.

    Raises:
        BadInputError: If a layer's keys are too few or too alike for its anchors.
    """
    backbone.eval()
    generator = torch.Generator().manual_seed(seed)
    embedded = [backbone.embed(batch) for batch in pictures.split(_BATCH)]
    grid = embedded[0][1]
    tokens = torch.cat([batch for batch, _ in embedded])  # (P, N, C)
    facts = {}
    for i, block in enumerate(cast(list[Block], list(backbone.blocks))):
        layer = cast(AnchorAttention, block.mixer)
        if center:
            _center_keys(block, layer, tokens)
        drawn = torch.randperm(tokens.shape[0] * tokens.shape[1], generator=generator)[:_NUM_TOKENS]
        keys = _keys(block, layer, tokens.flatten(0, 1)[drawn][None])  # (1, n, C)
        try:
            centers = _centers(keys.unflatten(-1, (layer.num_heads, -1)).flatten(0, 2), len(layer.anchors), seed)
            scale = _set_scaled(layer, centers, keys, entropy)
        except BadInputError as error:
            raise BadInputError(f"block {i}: {error}; give more pictures, and different ones") from error
        seen = layer.assign(_keys(block, layer, tokens[:_BATCH]))
        facts[i] = AnchorFacts(scale, row_entropy(seen).mean().item(), effective_anchors(seen).mean().item())
        tokens = torch.cat(list(_through(block, tokens, grid, backbone.num_prefix)))
    return facts


def _keys(block: Block, layer: AnchorAttention, tokens: Tensor) -> Tensor:
    return layer.key_value(block.norm1(tokens)).chunk(2, dim=-1)[0]


def _through(block: nn.Module, tokens: Tensor, grid: Grid, num_prefix: int) -> Iterator[Tensor]:
    for batch in tokens.split(_BATCH):
        yield block(batch, grid, num_prefix=num_prefix)


def _center_keys(block: Block, layer: AnchorAttention, tokens: Tensor) -> None:
    """Take their mean over the pictures off the normed tokens, and give its share of the result back behind the walk.

    Keys lose what all share; values too, but each result is a mean of values and lost the same.
    """
    total = torch.stack([block.norm1(batch).double().sum(dim=(0, 1)) for batch in tokens.split(_BATCH)]).sum(dim=0)
    mean = total / (tokens.shape[0] * tokens.shape[1])
    values = layer.key_value.weight.double().chunk(2)[1] @ mean
    # New tensors: the old ones may be the caller's.
    block.norm1.bias.data = (block.norm1.bias.double() - mean).to(tokens.dtype)
    layer.proj.bias.data = (layer.proj.bias.double() + layer.proj.weight.double() @ values).to(tokens.dtype)


def _centers(keys: Tensor, num_anchors: int, seed: int) -> Tensor:
    """Return the k-means centers ``(M, d)`` of keys ``(n, d)``."""
    from scipy.cluster.vq import kmeans2

    distinct = len(torch.unique(keys, dim=0))
    if distinct < num_anchors:
        raise BadInputError(f"its pictures give {distinct} different keys for {num_anchors} anchors")
    with warnings.catch_warnings():
        # An empty cluster keeps the key that it was drawn as: an anchor like others, for training to move.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        centers, _ = kmeans2(keys.double().numpy(), num_anchors, iter=_NUM_ROUNDS, minit="++", seed=seed)
    return torch.from_numpy(np.ascontiguousarray(centers)).to(keys.dtype)


def _set_scaled(layer: AnchorAttention, centers: Tensor, keys: Tensor, target: float) -> float:
    """Set the anchors to the centers times the number at which the assignments of keys have an entropy.

    The entropy of a softmax falls as its logits grow, at a rate of their variance: a bisection finds the number.
    """

    def entropy(scale: float) -> float:
        layer.anchors.data = centers * scale
        return row_entropy(layer.assign(keys)).mean().item()

    low, high = 0.0, 1.0
    while entropy(high) > target:
        low, high = high, 2 * high
        if high > _MAX_SCALE:
            raise BadInputError("its anchors are as near to every key, at any scale")
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(middle) > target else (low, middle)
    layer.anchors.data = centers * high
    return high
