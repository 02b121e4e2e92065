"""The names under which configs choose a mechanism: one line each."""

from effvit_mm import layers
from effvit_mm.registry import MLPS, TOKEN_MERGERS, TOKEN_MIXERS

TOKEN_MIXERS.register_module("self", module=layers.SelfAttention)
TOKEN_MIXERS.register_module("relative", module=layers.RelativePositionAttention)
TOKEN_MIXERS.register_module("anchor", module=layers.AnchorAttention)

MLPS.register_module("plain", module=layers.Mlp)
MLPS.register_module("mix", module=layers.MixMlp)

TOKEN_MERGERS.register_module("overlapping", module=layers.OverlappingMerging)
TOKEN_MERGERS.register_module("patch", module=layers.PatchMerging)
TOKEN_MERGERS.register_module("deformable", module=layers.DeformableMerging)
