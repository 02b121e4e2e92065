"""LIT: pure MLPs in the early stages, attention in the deep ones, learned deformable token merging between them.

Pan et al., "Less is More: Pay Less Attention in Vision Transformers", AAAI 2022, arXiv 2105.14217.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from typing_extensions import Unpack

from effvit_mm.backbones.choices import Spec
from effvit_mm.backbones.dense_backbone import STRIDES
from effvit_mm.backbones.pyramid import Pyramid, PyramidOptions, PyramidSizes
from effvit_mm.registry import register_backbone


@register_backbone("lit")
class LIT(Pyramid):
    """A four-stage pyramid that attends in stages 3 and 4 only, to all tokens of the stage.

    There are two families. ``'ti'`` follows PVT: tables of absolute positions, a class token in its classifier, no norm
    on its dense outputs. ``'s'``, ``'m'`` and ``'b'`` follow Swin: a relative position bias in every attention, average
    pooling. The tables are stored for pictures of ``pretrain_img_size`` and resized to any other size.

    Args:
        variant: ``'ti'``, ``'s'``, ``'m'`` or ``'b'``: 19.4, 27.2, 48.6 and 86.3 M parameters without a classifier;
            3.60, 4.08, 8.59 and 15.03 G multiply-adds at 224x224.
        pretrain_img_size: Side, in pixels, of the pictures that the position tables are stored for: 224 in the weights
            for ImageNet; the official dense weights of ``'s'`` have tables for 800 (COCO) and 512 (ADE20K).
        **pyramid: Everything else that :class:`Pyramid` takes, except ``mixers`` and ``positions``.

    Shape:
        As :class:`Pyramid`.

    Cost:
        Quadratic in the tokens of stages 3 and 4: 156 G multiply-adds of ``'s'`` at 800x1280, 77 of them attention.

    Raises:
        ValueError: As :class:`Pyramid`, or if ``pretrain_img_size`` is less than one token of the last stage.

    Reference:
        arXiv 2105.14217, table 1; widths, depths, position tables and norms are those of the authors' released code
        (https://github.com/ziplab/LIT), where the paper's text leaves them open.

    Differs from the paper:
        Maps of an odd size are zero-padded before merging, so sizes are ceilings where the released code drops a row or
        column: the two agree where 32 divides H and W. Tables are resized in one step from the stored size.
    """

    variants: ClassVar[Mapping[str, PyramidSizes]] = {
        "ti": dict(
            channels=(64, 128, 320, 512),
            depths=(3, 4, 6, 3),
            num_heads=(1, 2, 5, 8),
            mlp_ratios=(8, 8, 4, 4),
            drop_path_rate=0.1,
        ),
        "s": dict(
            channels=(96, 192, 384, 768),
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            mlp_ratios=(4, 4, 4, 4),
            drop_path_rate=0.2,
        ),
        "m": dict(
            channels=(96, 192, 384, 768),
            depths=(2, 2, 18, 2),
            num_heads=(3, 6, 12, 24),
            mlp_ratios=(4, 4, 4, 4),
            drop_path_rate=0.3,
        ),
        "b": dict(
            channels=(128, 256, 512, 1024),
            depths=(2, 2, 18, 2),
            num_heads=(4, 8, 16, 32),
            mlp_ratios=(4, 4, 4, 4),
            drop_path_rate=0.5,
        ),
    }

    def __init__(self, *, variant: str = "s", pretrain_img_size: int = 224, **pyramid: Unpack[PyramidOptions]) -> None:
        if pretrain_img_size < STRIDES[-1]:
            raise ValueError(
                f"pretrain_img_size={pretrain_img_size} is the side in pixels of the pictures the position tables are "
                f"stored for; it must be at least {STRIDES[-1]}, such as 224"
            )
        grids = tuple((pretrain_img_size // stride,) * 2 for stride in STRIDES)
        choices: dict[str, Any] = dict(
            # Two stages are nothing but MLPs: what their GELUs give would be a quarter of the memory of training.
            mlps=dict(type="plain", recompute_act=True),
            mergers=("patch", "deformable", "deformable", "deformable"),
            norm_eps=1e-5,
        )
        if variant == "ti":
            mixers: tuple[Spec | None, ...] = (None, None, "self", "self")
            choices.update(norm_eps=1e-6, positions=grids, output_norms=())
        else:
            mixers = (None, None, *(dict(type="relative", table_grid=grid) for grid in grids[2:]))
        super().__init__(variant=variant, mixers=mixers, **cast(PyramidOptions, {**choices, **pyramid}))

    @classmethod
    def classifier_options(cls, variant: str) -> dict[str, Any]:
        """Return the arguments with which a variant feeds a classifier; ``'ti'`` reads its class token."""
        options = super().classifier_options(variant)
        return {**options, "class_token": True, "output_norms": (3,)} if variant == "ti" else options
