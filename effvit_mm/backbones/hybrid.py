"""The hybrid that the comparison of token mixers led to: channels and anchors in turn, in all four stages."""

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import Unpack

from effvit_mm.backbones.pyramid import Pyramid, PyramidOptions, PyramidSizes
from effvit_mm.registry import register_backbone


@register_backbone("hybrid")
class Hybrid(Pyramid):
    """A four-stage pyramid whose blocks have cross-covariance attention and anchor attention in turn.

    The first mixes channels by statistics of the whole picture, and neighbours by convolutions; the second mixes
    places, through learned anchors. Either way no token meets every other.

    Args:
        variant: ``'t'``, with the widths at which ``tests/benchmarks/mixers.py`` compared it, or ``'s'``, with those of
            ``pyramid_s``, which was not compared. 5.63 and 18.91 M parameters; 0.92 and 2.80 G multiply-adds at
            224x224.
        **pyramid: Everything else that :class:`Pyramid` takes, except ``mixers``.

    Shape:
        As :class:`Pyramid`.

    Cost:
        Linear in the number of pixels, in time and memory.

    Raises:
        ValueError: As :class:`Pyramid`.

    Reference:
        El-Nouby et al. 2021 (cross-covariance attention) and Shan et al. 2025 (anchors); that they take turns is ours.

    Differs from the paper:
        It has none: docs/mixers.md has what was measured. Its batch norms want several pictures a step, or
        ``norm_eval=True`` once they are trained.
    """

    variants: ClassVar[Mapping[str, PyramidSizes]] = {
        "t": {**Pyramid.variants["t"], "channels": (32, 72, 192, 288), "num_heads": (1, 3, 6, 9)},
        "s": Pyramid.variants["s"],
    }

    def __init__(self, *, variant: str = "s", **pyramid: Unpack[PyramidOptions]) -> None:
        super().__init__(variant=variant, mixers=(("cross_covariance", "anchor"),) * 4, **pyramid)
