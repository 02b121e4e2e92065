"""What a model costs: counted exactly, and measured."""

from effvit_mm.analysis.counting import count, counting
from effvit_mm.analysis.kept_tokens import draw_kept_tokens, kept_maps
from effvit_mm.analysis.ledger import Cost, Ledger

__all__ = ["Cost", "Ledger", "count", "counting", "draw_kept_tokens", "kept_maps"]
