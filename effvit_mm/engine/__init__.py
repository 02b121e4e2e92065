"""What surrounds a run: configs made ready, checks before anything is built, hooks that report."""

from effvit_mm.engine.checkpoint_hook import KeepingCheckpointHook
from effvit_mm.engine.kept_tokens_hook import KeptTokensHook
from effvit_mm.engine.report import RunReportHook
from effvit_mm.engine.selector_hook import KeepAnnealingHook, SelectorLossHook

__all__ = ["KeepAnnealingHook", "KeepingCheckpointHook", "KeptTokensHook", "RunReportHook", "SelectorLossHook"]
