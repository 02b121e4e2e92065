"""How stages are put together: one assembly, and the papers' tables of choices over it."""

from effvit_mm.backbones.anchorformer import AnchorFormer
from effvit_mm.backbones.factory import create_backbone, list_backbones
from effvit_mm.backbones.pyramid import Pyramid

__all__ = ["AnchorFormer", "Pyramid", "create_backbone", "list_backbones"]
