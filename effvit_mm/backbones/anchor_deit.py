"""AnchorFormer as its authors released it: DeiT with anchor attention in the place of softmax attention.

Shan et al., "AnchorFormer: Differentiable Anchor Attention for Efficient Vision Transformer", arXiv 2505.16463.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import nn
from typing_extensions import Unpack

from effvit_mm.backbones.plain import WITH_384, Plain, PlainOptions, PlainSizes
from effvit_mm.layers.anchor_attention import AnchorLocal, AnchorMode
from effvit_mm.registry import register_backbone


@register_backbone("anchor_deit")
class AnchorDeiT(Plain):
    """A plain ViT whose tokens meet at ``num_anchors`` learned anchors in every layer; class and distillation token.

    Args:
        variant: ``'t'``, ``'s'``, ``'b'``, or ``'b_384'`` for pictures of 384 pixels: 5,484,560, 20,676,176, 80,255,696
            and 80,547,536 parameters with two heads for 1000 classes; 1.03, 4.00 and 15.70 G multiply-adds at 224x224
            and 45.82 G at 384x384.
        num_anchors: Anchors M of each layer.
        mode: Form of the operator, see :class:`~effvit_mm.layers.AnchorAttention`.
        shared_anchors: Whether the heads of a layer share its anchors.
        local: Local branch of the operator.
        qkv_bias: Whether keys and values have a bias; weights that started from DeiT's may keep its keys'.
        **plain: Everything else that :class:`Plain` takes, except ``mixers``.

    Shape:
        As :class:`Plain`.

    Cost:
        Linear in the number of pixels, in time and memory: ``11 N C^2 + 3 N M C`` multiply-adds a block.

    Raises:
        ValueError: As :class:`Plain` and :class:`~effvit_mm.layers.AnchorAttention`.

    Reference:
        arXiv 2505.16463; sizes, tokens and the operator are those of the authors' released code
        (https://github.com/hyzhang98/AnchorFormer).

    Differs from the paper:
        Its table reports 4.2, 18.6 and 63.5 M parameters, which no columnar network of the released code has; these are
        the released ones. For dense prediction, see :class:`Plain`.
    """

    variants: ClassVar[Mapping[str, PlainSizes]] = WITH_384
    default_num_prefix: ClassVar[int] = 2

    def __init__(
        self,
        *,
        variant: str = "s",
        num_anchors: int = 30,
        mode: AnchorMode = "paper",
        shared_anchors: bool = True,
        local: AnchorLocal = "none",
        qkv_bias: bool = False,
        **plain: Unpack[PlainOptions],
    ) -> None:
        mixer = dict(
            type="anchor",
            num_anchors=num_anchors,
            mode=mode,
            shared_anchors=shared_anchors,
            local=local,
            qkv_bias=qkv_bias,
        )
        super().__init__(variant=variant, mixers=mixer, **plain)

    def reset_parameters(self) -> None:
        """Draw the projections of the blocks as torch does: the released code replaces DeiT's blocks by fresh ones."""
        super().reset_parameters()
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
