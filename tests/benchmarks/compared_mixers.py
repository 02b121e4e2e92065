"""What ``mixer_learning.py`` compares: controls, and forms of anchor attention that the package does not ship."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers import SelfAttention
from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import merge_heads, pool_to, split_heads
from effvit_mm.registry import TOKEN_MIXERS

Spec = str | dict[str, Any] | Sequence[str | dict[str, Any]]
"""A mixer by its name or as a dict of ``type`` and options; a sequence has one for each stage of a pyramid."""


def local_branch(dim: int, local: str) -> nn.Conv2d | None:
    """Build the 3x3 depth-wise convolution of the values, as anchor attention has it."""
    return nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if local == "dwconv" else None


def with_nearby(mixed: Tensor, local: nn.Conv2d | None, values: Tensor, grid: Grid) -> Tensor:
    """Add what the local branch makes of the values."""
    return mixed if local is None else mixed + map_to_tokens(local(tokens_to_map(values, grid)))


class MeanPooling(nn.Module):
    """The control of all: every token gets the mean of the values."""

    def __init__(self, dim: int, num_heads: int, *, local: str = "none") -> None:
        super().__init__()
        self.value, self.proj, self.local = (
            nn.Linear(dim, dim, bias=False),
            nn.Linear(dim, dim),
            local_branch(dim, local),
        )

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        values = self.value(tokens)
        return self.proj(with_nearby(values.mean(1, keepdim=True).expand_as(values), self.local, values, grid))


class LocalSelfAttention(SelfAttention):
    """Dense attention with the local branch of anchor attention."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads)
        self.local = local_branch(dim, "dwconv")

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        query, key, value = self.project(tokens)
        mixed = merge_heads(F.scaled_dot_product_attention(query, key, value))
        return self.proj(with_nearby(mixed, self.local, merge_heads(value), grid))


class ApartAnchors(nn.Module):
    """Relatives of anchor attention's ``mode='apart'``, which is this with its defaults.

    Args:
        dim: Channels.
        num_heads: Heads.
        num_anchors: Learned anchors M.
        query: Distribute by a projection of its own, in the place of the keys.
        sets: 2 for anchors that gather and anchors that distribute, 1 for anchors that do both.
        pooled: ``(rows, columns)``, M in all: the mean of the keys or queries in that part of the picture is added to
            each anchor.
        unit: Unit-norm keys and anchors over a learned temperature, 0.1 at the start; else dot products over
            ``sqrt(d)``.
        local: ``'dwconv'`` or ``'none'``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        num_anchors: int = 30,
        query: bool = False,
        sets: int = 2,
        pooled: Grid | None = None,
        unit: bool = True,
        local: str = "none",
    ) -> None:
        super().__init__()
        self.num_heads, self.query, self.pooled = num_heads, query, pooled
        self.projections = nn.Linear(dim, (3 if query else 2) * dim, bias=False)
        self.anchors = nn.Parameter(torch.empty(sets, num_anchors, dim // num_heads))
        self.log_temperature = nn.Parameter(torch.empty(num_heads, 1, 1)) if unit else None
        self.local, self.proj = local_branch(dim, local), nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.anchors)
        if self.log_temperature is not None:
            nn.init.constant_(self.log_temperature, math.log(0.1))

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        gatherers, keys, values, queries, distributors, scale = self.parts(tokens, grid)
        gathered = F.scaled_dot_product_attention(gatherers, keys, values, scale=scale)
        mixed = merge_heads(F.scaled_dot_product_attention(queries, distributors, gathered, scale=scale))
        return self.proj(with_nearby(mixed, self.local, merge_heads(values), grid))

    def parts(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float | None]:
        """What the two attentions read, and the scale of their logits."""
        parts = [split_heads(x, self.num_heads) for x in self.projections(tokens).chunk(3 if self.query else 2, dim=-1)]
        keys, values, queries = parts[0], parts[1], parts[-1] if self.query else parts[0]
        anchors = self.anchors[:, None, None].expand(-1, *keys.shape[:2], -1, -1)  # (sets, B, h, M, d)
        if self.pooled is not None:
            fmap = tokens_to_map(merge_heads(queries), grid)
            anchors = anchors + split_heads(map_to_tokens(pool_to(fmap, self.pooled, None)), self.num_heads)
        if self.log_temperature is None:
            return anchors[0], keys, values, queries, anchors[-1], None
        anchors = F.normalize(anchors, dim=-1) / self.log_temperature.exp().clamp(min=0.01)
        keys = F.normalize(keys, dim=-1)
        queries = F.normalize(queries, dim=-1) if self.query else keys
        return anchors[0], keys, values, queries, anchors[-1], 1.0

    def steps(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """The weights with which anchors gather ``(B, h, M, N)`` and tokens take ``(B, h, N, M)``."""
        gatherers, keys, _, queries, distributors, scale = self.parts(tokens, grid)
        scale = scale or keys.shape[-1] ** -0.5
        gather = (scale * gatherers @ keys.transpose(-2, -1)).softmax(-1)
        return gather, (scale * queries @ distributors.transpose(-2, -1)).softmax(-1)


TOKEN_MIXERS.register_module("mean", module=MeanPooling)
TOKEN_MIXERS.register_module("self_local", module=LocalSelfAttention)
TOKEN_MIXERS.register_module("apart", module=ApartAnchors)


@dataclass(frozen=True)
class Variant:
    """A row of the comparison.

    Args:
        cifar: Mixer of the columnar network, on 8x8 tokens.
        toy: Mixer of the pyramid, on 32x40 tokens and less; None where there is no such network.
        equal: Whether the MLPs are made narrower or wider until the network costs what ``paper`` does.
    """

    cifar: Spec
    toy: Spec | None
    equal: bool = False

    def on(self, task: str) -> Spec | None:
        """Return the mixer for a task."""
        return self.toy if task == "toy" else self.cifar


def anchors_of(**options: Any) -> Variant:
    """A form of anchor attention with 16 anchors for 64 tokens, and 30 in the pyramid."""
    cifar, toy = {"num_anchors": 16, **options}, {"num_anchors": 30, **options}
    if "pooled" in options:
        cifar["pooled"], toy["pooled"] = (4, 4), (5, 6)
    return Variant(cifar, toy)


AGENT = ({"type": "agent", "agent_grid": (4, 4)}, {"type": "agent", "agent_grid": (5, 6)})
REDUCTION = (
    {"type": "spatial_reduction", "reduction_ratio": 2},
    tuple({"type": "spatial_reduction", "reduction_ratio": ratio} for ratio in (8, 4, 2, 1)),
)
LOCAL = {"local": "dwconv"}
FORMS = {
    "paper": {"type": "anchor", "mode": "paper"},
    "cosine": {"type": "anchor", "mode": "cosine"},
    "apart": {"type": "anchor", "mode": "apart"},
    "apart, one set": {"type": "apart", "sets": 1},
    "apart, dot product": {"type": "apart", "unit": False},
    "apart, dot product, one set": {"type": "apart", "unit": False, "sets": 1},
    "apart, dot product, query": {"type": "apart", "unit": False, "query": True},
    "apart, dot product, pooled": {"type": "apart", "unit": False, "pooled": True},
}
VARIANTS = {
    "mean": Variant("mean", "mean"),
    "mean + local": Variant({"type": "mean", **LOCAL}, {"type": "mean", **LOCAL}),
    **{
        name + end: anchors_of(**form, **more)
        for name, form in FORMS.items()
        for end, more in (("", {}), (" + local", LOCAL))
    },
    "agent (has local)": Variant(*AGENT),
    "agent at equal cost": Variant(*AGENT, equal=True),
    "spatial reduction": Variant(*REDUCTION),
    "spatial reduction at equal cost": Variant(*REDUCTION, equal=True),
    "dense": Variant("self", "self"),
    "dense + local": Variant("self_local", "self_local"),
    # In the pyramid the mixing alone costs more than the whole network should.
    "dense at equal cost": Variant("self", None, equal=True),
}
SWEEP = {f"apart, M={num}": num for num in (5, 15, 30, 64, 100)}
for name, num in SWEEP.items():
    spec = {"type": "anchor", "mode": "apart", "num_anchors": num}
    VARIANTS[name] = Variant(spec, spec)
