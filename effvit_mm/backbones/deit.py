"""DeiT: the plain ViT with softmax attention everywhere, the dense control of every columnar network here.

Touvron et al., "Training data-efficient image transformers & distillation through attention", ICML 2021, arXiv
2012.12877.
"""

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import Unpack

from effvit_mm.backbones.plain import WITH_384, Plain, PlainOptions, PlainSizes
from effvit_mm.registry import register_backbone


@register_backbone("deit")
class DeiT(Plain):
    """A plain ViT with a class token; with ``num_prefix=2`` the distilled one, with a token and a head more.

    Args:
        variant: ``'t'``, ``'s'``, ``'b'``, or ``'b_384'`` for pictures of 384 pixels: 5.72, 22.05, 86.57 and 86.86 M
            parameters with a head for 1000 classes; 1.25, 4.60, 17.56 and 55.48 G multiply-adds at 224x224 and, for the
            last, 384x384.
        **plain: Everything else that :class:`Plain` takes, except ``mixers``.

    Shape:
        As :class:`Plain`.

    Cost:
        Quadratic in the tokens in every block: ``12 N C^2 + 2 N^2 C`` multiply-adds.

    Raises:
        ValueError: As :class:`Plain`.

    Reference:
        arXiv 2012.12877, table 1; names and numbers are those of timm's ``deit_*_patch16_*``.

    Differs from the paper:
        Nothing for classification. For dense prediction, see :class:`Plain`.
    """

    variants: ClassVar[Mapping[str, PlainSizes]] = WITH_384
    default_num_prefix: ClassVar[int] = 1

    def __init__(self, *, variant: str = "s", **plain: Unpack[PlainOptions]) -> None:
        super().__init__(variant=variant, mixers="self", **plain)
