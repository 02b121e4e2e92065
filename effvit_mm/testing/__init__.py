"""The contract as code: what every mixer and every backbone of this package, or of yours, must keep.

from effvit_mm.testing import BACKBONE_CHECKS, MIXER_CHECKS, check_backbone, check_mixer

check_backbone(lambda **options: MyBackbone(**options))
check_mixer(lambda dim, num_heads: MyMixer(dim, num_heads))
"""

from effvit_mm.testing.backbone_contract import BACKBONE_CHECKS, check_backbone
from effvit_mm.testing.mixer_contract import MIXER_CHECKS, check_mixer

__all__ = ["BACKBONE_CHECKS", "MIXER_CHECKS", "check_backbone", "check_mixer"]
