"""What surrounds a run: configs made ready, checks before anything is built, hooks that report."""

from effvit_mm.engine.anchor_health_hook import AnchorHealthHook
from effvit_mm.engine.auxiliary_loss_hook import AuxiliaryLossHook
from effvit_mm.engine.checkpoint_hook import KeepingCheckpointHook
from effvit_mm.engine.gradient_hook import GradientHook
from effvit_mm.engine.group_rates import PerGroupOneCycleLR
from effvit_mm.engine.kept_tokens_hook import KeptTokensHook
from effvit_mm.engine.layer_decay import LayerDecayOptimWrapperConstructor
from effvit_mm.engine.report import RunReportHook
from effvit_mm.engine.selector_hook import KeepAnnealingHook, SelectorLossHook

__all__ = [
    "AnchorHealthHook",
    "AuxiliaryLossHook",
    "GradientHook",
    "KeepAnnealingHook",
    "KeepingCheckpointHook",
    "KeptTokensHook",
    "LayerDecayOptimWrapperConstructor",
    "PerGroupOneCycleLR",
    "RunReportHook",
    "SelectorLossHook",
]
