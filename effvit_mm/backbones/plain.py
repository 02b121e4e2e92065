"""The one assembly of a columnar network: a plain ViT, one grid of tokens from the first block to the last.

A columnar network differs from another in its blocks, and in what happens between them: a family chooses the first by
the name of a mixer and the second by :meth:`Plain.run`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from effvit_mm.backbones import mechanisms  # noqa: F401  (registers the names that the choices below are made by)
from effvit_mm.backbones.choices import Spec, one_for_each
from effvit_mm.backbones.dense_backbone import STRIDES, DenseBackbone
from effvit_mm.backbones.plain_options import PATCH_SIZE, PlainOptions, PlainSizes, check_numbers, checked_taps
from effvit_mm.layers import (
    BicubicPositions,
    Block,
    Grid,
    PrefixTokens,
    SimplePyramidLevel,
    map_to_tokens,
    pad_to_multiple,
    tokens_to_map,
)
from effvit_mm.registry import MLPS, TOKEN_MERGERS, TOKEN_MIXERS, build_mechanism, register_backbone

__all__ = ["PATCH_SIZE", "Plain", "PlainOptions", "PlainSizes"]


@register_backbone("plain")
class Plain(DenseBackbone):
    """A plain ViT with any token mixer; with its defaults, dense softmax attention and no class token.

    Patches of 16 x 16 pixels, a learned table of positions, ``depth`` blocks on one grid of stride 16, and for dense
    prediction a simple pyramid: strides 4, 8, 16 and 32 out of the one map. Sizes come from the table ``variants``;
    each can be overridden.

    Args:
        variant: Row of ``variants``.
        dim: Channels C of a token.
        depth: Blocks.
        num_heads: Heads of the mixers.
        mlp_ratio: Hidden channels of the MLPs over C.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0 at the first.
        pretrain_img_size: Side, in pixels, of the square pictures that the position table is stored for; other sizes
            read it resized bicubically.
        mixers: Token mixer, one for all blocks or one for each: a name of ``TOKEN_MIXERS``, a dict of ``type`` and
            options, or None for blocks that are an MLP only.
        mlp: Channel mixer, by a name of ``MLPS``.
        stem: Token merging in the place of ViT's patch embedding, by a name of ``TOKEN_MERGERS``, such as
            ``'tokens_to_token'``; None for ViT's.
        num_prefix: Learned tokens in front of the picture's, with positions of their own: 1 is a class token, 2 a class
            and a distillation token. They take part in every block, dense prediction included, as they did in
            pre-training.
        class_token: For classification: what is returned in place of a map is the normed class token ``(B, C)``, or all
            prefix tokens ``(B, P, C)`` where there are more; needs ``out_indices=(2,)`` and one tap.
        taps: Blocks, counted from 0, whose tokens become maps: one (default: the last) that all strides are made of, as
            FPN heads like it; or four, one for each stride, such as ``(2, 5, 8, 11)`` for UPerNet and depth. Every tap
            has a LayerNorm of its own.
        out_channels: None for maps as they are resampled, with C/4, C/2, C, C channels; or the channels of all maps
            behind the simple pyramid's own convolutions.
        norm_eps: Epsilon of the LayerNorms.
        out_indices: Strides that are returned, as places in (4, 8, 16, 32). No block behind the last tap of them is
            built.
        frozen_stages: 0 freezes the patch embedding, the prefix tokens and the positions; k from 1 to 3 also the first
            k quarters of the blocks (rounded up) with the norms of their taps; 4 everything, the pyramid too; -1
            nothing.
        norm_eval: Keep BatchNorms, where a mechanism has some, in evaluation mode during training.
        with_cp: Recompute each block in the backward pass instead of keeping its activations (non-reentrant). A batch
            norm inside a mixer counts the pictures of a step twice then; maps and gradients are the same.
        init_cfg: MMEngine's initialisation, applied after our own; ``dict(type='Pretrained', checkpoint=...)`` loads.

    Shape:
        x ``(B, 3, H, W)`` with H and W at least 16 and at least the largest stride; returns a tuple of
        ``(B, channels[i], ceil(H / strides[i]), ceil(W / strides[i]))``. Inside, pictures are zero-padded at the bottom
        and right to multiples of 16.

    Cost:
        ``768 N C`` multiply-adds for the patches, the sum over the blocks, and that of the pyramid's levels
        (:class:`~effvit_mm.layers.SimplePyramidLevel`).

    Attributes:
        channels: Channels of the returned maps, aligned with ``out_indices``.
        strides: Their strides in pixels.
        num_class_tokens: Tokens that are returned in place of a map; 0 if maps are.

    Raises:
        ValueError: If a name is unknown, a number is out of range, or pictures are not ``(B, 3, H, W)`` of the least
            size.

    Reference:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; the sizes: Touvron et al., "Training
        data-efficient image transformers & distillation through attention", ICML 2021, table 1; the pyramid: Li et al.,
        "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022, section 3.

    Differs from the paper:
        ViT: positions are resized to any picture. Li et al.: attention is global in every block, where theirs has
        windows in most; tapped tokens pass the classifier's final norm; the pyramid's last two convolutions are the
        neck's unless ``out_channels`` is given.
    """

    variants: ClassVar[Mapping[str, PlainSizes]] = {
        "t": dict(dim=192, depth=12, num_heads=3, mlp_ratio=4, drop_path_rate=0.1, pretrain_img_size=224),
        "s": dict(dim=384, depth=12, num_heads=6, mlp_ratio=4, drop_path_rate=0.1, pretrain_img_size=224),
        "b": dict(dim=768, depth=12, num_heads=12, mlp_ratio=4, drop_path_rate=0.1, pretrain_img_size=224),
    }
    default_num_prefix: ClassVar[int] = 0
    """Prefix tokens of a family's released networks."""

    def __init__(
        self,
        *,
        variant: str = "s",
        dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: int | None = None,
        drop_path_rate: float | None = None,
        pretrain_img_size: int | None = None,
        mixers: Spec | Sequence[Spec | None] | None = "self",
        mlp: Spec = "plain",
        stem: Spec | None = None,
        num_prefix: int | None = None,
        class_token: bool = False,
        taps: Sequence[int] | None = None,
        out_channels: int | None = None,
        norm_eps: float = 1e-6,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(out_indices=out_indices, frozen_stages=frozen_stages, norm_eval=norm_eval, init_cfg=init_cfg)
        given = dict(
            dim=dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            pretrain_img_size=pretrain_img_size,
        )
        sizes: Any = {**self.sizes(variant), **{name: value for name, value in given.items() if value is not None}}
        dim = self.dim = sizes["dim"]
        self.depth = sizes["depth"]
        self.num_prefix = self.default_num_prefix if num_prefix is None else num_prefix
        check_numbers(sizes, self.num_prefix)
        self.taps = checked_taps(taps, self.depth)
        if class_token and (self.out_indices != (2,) or len(self.taps) > 1 or not self.num_prefix):
            raise ValueError(
                f"class_token=True returns the prefix tokens in place of the map of stride 16; out_indices="
                f"{out_indices} must be (2,), taps={taps} one block and num_prefix={self.num_prefix} at least 1 (or "
                f"pass class_token=False)"
            )
        self.num_class_tokens = self.num_prefix if class_token else 0
        self.strides = tuple(STRIDES[i] for i in self.out_indices)
        self.min_size = max(PATCH_SIZE, *self.strides)
        self.with_cp = with_cp

        self.patch_embed: nn.Module = (
            nn.Conv2d(3, dim, PATCH_SIZE, stride=PATCH_SIZE)
            if stem is None
            else build_mechanism(TOKEN_MERGERS, stem, 3, dim, stride=PATCH_SIZE)
        )
        self.prefix = PrefixTokens(dim, self.num_prefix) if self.num_prefix else None
        table_grid = (sizes["pretrain_img_size"] // PATCH_SIZE,) * 2
        self.positions = BicubicPositions(dim, table_grid, num_prefix=self.num_prefix)
        emitted_taps = sorted({self._tap_of(level) for level in self.out_indices})
        choices = one_for_each("mixers", mixers, self.depth, "blocks")
        self.blocks = nn.ModuleList(
            Block(
                dim,
                None if choices[i] is None else build_mechanism(TOKEN_MIXERS, choices[i], dim, sizes["num_heads"]),
                build_mechanism(MLPS, mlp, dim, sizes["mlp_ratio"] * dim),
                drop_path=sizes["drop_path_rate"] * i / max(self.depth - 1, 1),
                norm_eps=norm_eps,
            )
            for i in range(emitted_taps[-1] + 1)
        )
        self.norms = nn.ModuleDict({str(tap): nn.LayerNorm(dim, eps=norm_eps) for tap in emitted_taps})
        levels = {
            str(i): SimplePyramidLevel(dim, STRIDES[i], out_channels=out_channels, norm_eps=norm_eps)
            for i in (() if class_token else self.out_indices)
        }
        self.pyramid = nn.ModuleDict(levels)
        self.channels = (dim,) if class_token else tuple(level.channels for level in levels.values())
        self.draw_weights()
        self.freeze()

    @classmethod
    def classifier_options(cls, variant: str) -> dict[str, Any]:
        """Return the arguments with which a variant feeds a classifier: its prefix tokens, or its map of stride 16."""
        return dict(out_indices=(2,), class_token=cls.default_num_prefix > 0)

    def reset_parameters(self) -> None:
        """Draw the weights of the patch embedding as torch does, and as DeiT's code leaves them."""
        if isinstance(self.patch_embed, nn.Conv2d):
            self.patch_embed.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of pictures ``(B, 3, H, W)``; with ``class_token``, that token ``(B, C)``."""
        self.check_pictures(x)
        tokens, grid = self.embed(x)
        return self.emit(self.run(tokens, grid), grid, (x.shape[-2], x.shape[-1]))

    def emit(self, outputs: Iterable[Tensor], grid: Grid, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Turn the tokens behind each block into what :meth:`forward` returns for pictures of ``size``, in pixels."""
        tapped = {}
        for i, mixed in enumerate(outputs):
            if str(i) in self.norms:
                tapped[i] = self.norms[str(i)](mixed)
        if self.num_class_tokens:
            tokens = tapped[self.taps[0]][:, : self.num_class_tokens]
            return (tokens[:, 0] if self.num_class_tokens == 1 else tokens,)
        fmaps = {tap: tokens_to_map(tokens[:, self.num_prefix :], grid) for tap, tokens in tapped.items()}
        emitted = []
        for i, stride in zip(self.out_indices, self.strides, strict=True):
            fmap = self.pyramid[str(i)](fmaps[self._tap_of(i)])
            # The pictures' padding to multiples of 16 may have made it larger than promised.
            emitted.append(fmap[..., : (size[0] + stride - 1) // stride, : (size[1] + stride - 1) // stride])
        return tuple(emitted)

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Turn pictures into tokens ``(B, P + N, C)``, prefix tokens first, positions added; and the grid of the N."""
        embedded = self.patch_embed(pad_to_multiple(x, PATCH_SIZE))
        if isinstance(embedded, Tensor):
            tokens, grid = map_to_tokens(embedded), (embedded.shape[-2], embedded.shape[-1])
        else:
            tokens, grid = embedded
        if self.prefix is not None:
            tokens = self.prefix(tokens)
        return self.positions(tokens, grid), grid

    def run(self, tokens: Tensor, grid: Grid) -> Iterator[Tensor]:
        """Yield the tokens ``(B, P + N, C)`` behind each block, in raster order and none left out.

        A family whose layers depend on one another (a selector between two blocks, ...) overrides this, and runs each
        block through :meth:`apply_block`.
        """
        for block in self.blocks:
            tokens = self.apply_block(block, tokens, grid)
            yield tokens

    def apply_block(self, block: nn.Module, tokens: Tensor, grid: Grid, **options: Any) -> Any:
        """Run a block, recomputing it in the backward pass under ``with_cp``; ``options`` go to its forward."""
        options = {"num_prefix": self.num_prefix, **options}
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(block, tokens, grid, use_reentrant=False, **options)
        return block(tokens, grid, **options)

    def stem(self) -> nn.Module:
        """Return the patch embedding."""
        return self.patch_embed

    def frozen_modules(self) -> list[nn.Module]:
        """Return what ``frozen_stages`` freezes; see the class."""
        if self.frozen_stages < 0:
            return []
        if self.frozen_stages == self.num_stages:
            return list(self.children())
        stem = [self.patch_embed, self.positions, *([] if self.prefix is None else [self.prefix])]
        num_blocks = math.ceil(self.depth * self.frozen_stages / self.num_stages)
        return [*stem, *self.blocks[:num_blocks], *(norm for tap, norm in self.norms.items() if int(tap) < num_blocks)]

    def num_blocks(self) -> int:
        """Return how many blocks are built."""
        return len(self.blocks)

    def block_depth(self, names: Sequence[str]) -> int | None:
        """Return the depth of a parameter; None for the norms of taps, the pyramid and what a family adds."""
        if names[0] == "blocks":
            return int(names[1]) + 1
        return 0 if names[0] in ("patch_embed", "prefix", "positions") else None

    def _tap_of(self, level: int) -> int:
        """Return the block whose tokens become the map of a level."""
        return self.taps[0] if len(self.taps) == 1 else self.taps[level]


WITH_384: Mapping[str, PlainSizes] = {**Plain.variants, "b_384": {**Plain.variants["b"], "pretrain_img_size": 384}}
"""The sizes that DeiT's weights were released in."""
