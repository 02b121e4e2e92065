"""How stages are put together: one assembly, and the papers' tables of choices over it."""

from effvit_mm.backbones.anchor_deit import AnchorDeiT
from effvit_mm.backbones.anchorformer import AnchorFormer
from effvit_mm.backbones.classifier import Classifier
from effvit_mm.backbones.deit import DeiT
from effvit_mm.backbones.factory import create_backbone, create_classifier, list_backbones
from effvit_mm.backbones.hybrid import Hybrid
from effvit_mm.backbones.lit import LIT
from effvit_mm.backbones.plain import Plain
from effvit_mm.backbones.pyramid import Pyramid
from effvit_mm.backbones.reduced_deit import ReducedDeiT
from effvit_mm.backbones.taxonomy import list_mergers, list_mixers, list_reducers
from effvit_mm.backbones.tosa import ToSADeiT

__all__ = [
    "LIT",
    "AnchorDeiT",
    "AnchorFormer",
    "Classifier",
    "DeiT",
    "Hybrid",
    "Plain",
    "Pyramid",
    "ReducedDeiT",
    "ToSADeiT",
    "create_backbone",
    "create_classifier",
    "list_backbones",
    "list_mergers",
    "list_mixers",
    "list_reducers",
]
