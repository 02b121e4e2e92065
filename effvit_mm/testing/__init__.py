"""The contract as code: what every mixer, reducer and backbone of this package, or of yours, must keep.

from effvit_mm.testing import BACKBONE_CHECKS, MIXER_CHECKS, check_backbone, check_mixer, check_reducer

check_backbone(lambda **options: MyBackbone(**options))
check_mixer(lambda dim, num_heads: MyMixer(dim, num_heads))
check_reducer(lambda dim, num_heads: MyReducer(dim, num_heads))
"""

from effvit_mm.testing.backbone_contract import (
    BACKBONE_CHECKS,
    check_backbone,
    check_padding_keeps_gradients_in_bounds,
)
from effvit_mm.testing.mixer_contract import MIXER_CHECKS, check_mixer
from effvit_mm.testing.reducer_contract import REDUCER_CHECKS, check_reducer

__all__ = [
    "BACKBONE_CHECKS",
    "MIXER_CHECKS",
    "REDUCER_CHECKS",
    "check_backbone",
    "check_mixer",
    "check_padding_keeps_gradients_in_bounds",
    "check_reducer",
]
