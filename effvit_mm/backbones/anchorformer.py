"""AnchorFormer as a pyramid: anchor attention in all four stages.

Shan et al., "AnchorFormer", arXiv 2505.16463. The paper gives T, S and B by parameters and multiply-adds only; the
released code holds columnar networks that cannot have these sizes. The pyramid here meets the reported budgets by
construction: it is not the paper's architecture.
"""

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import Unpack

from effvit_mm.backbones.pyramid import Pyramid, PyramidOptions, PyramidSizes
from effvit_mm.layers.anchor_attention import AnchorLocal, AnchorMode
from effvit_mm.registry import register_backbone


@register_backbone("anchorformer")
class AnchorFormer(Pyramid):
    """A four-stage pyramid whose tokens meet at ``num_anchors`` learned anchors in every layer.

    Args:
        variant: ``'t'``, ``'s'`` or ``'b'``: 4.07, 18.00 and 62.97 M parameters; 0.70, 2.68 and 9.21 G multiply-adds at
            224x224.
        num_anchors: Anchors M of each layer; 22 keep the budgets: four products with M anchors are taken where the
            paper's form takes three with 30.
        mode: Form of the operator, see :class:`~effvit_mm.layers.AnchorAttention`.
        shared_anchors: Whether the heads of a layer share its anchors.
        local: Local branch of the operator.
        **pyramid: Everything else that :class:`Pyramid` takes, except ``mixers``.

    Shape:
        As :class:`Pyramid`.

    Cost:
        Linear in the number of pixels, in time and memory.

    Raises:
        ValueError: As :class:`Pyramid` and :class:`~effvit_mm.layers.AnchorAttention`.

    Reference:
        arXiv 2505.16463 (operator and budgets); the table of sizes is ours.

    Differs from the paper:
        The assembly (above), and the operator: ``mode='apart'`` is the default. With ``'paper'`` all anchors coincide
        at initialisation, and in small networks the walk learned what mean pooling does (docs/anchors.md).
    """

    variants: ClassVar[Mapping[str, PyramidSizes]] = {
        **Pyramid.variants,
        "b": dict(
            channels=(64, 128, 384, 768),
            depths=(2, 2, 20, 4),
            num_heads=(2, 4, 12, 24),
            mlp_ratios=(8, 8, 4, 4),
            drop_path_rate=0.4,
        ),
    }

    def __init__(
        self,
        *,
        variant: str = "s",
        num_anchors: int = 22,
        mode: AnchorMode = "apart",
        shared_anchors: bool = True,
        local: AnchorLocal = "none",
        **pyramid: Unpack[PyramidOptions],
    ) -> None:
        mixer = dict(type="anchor", num_anchors=num_anchors, mode=mode, shared_anchors=shared_anchors, local=local)
        super().__init__(variant=variant, mixers=mixer, **pyramid)
