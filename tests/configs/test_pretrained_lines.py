"""Every dense config says how pre-trained weights are taken in, and takes those of the classifier it names."""

import re
from functools import cache

import pytest
import torch
from cases import LEAVES, ROOT, needs_mmpretrain

from effvit_mm.backbones import list_backbones
from effvit_mm.checkpoint.intake import fit_backbone
from effvit_mm.engine.run import load_config
from effvit_mm.registry import BACKBONES

INIT_CFG = re.compile(r'^# Pre-trained: backbone=dict\(init_cfg=dict\(type="Pretrained", checkpoint="(.+)"\)\)\.', re.M)
CONVERTED = re.compile(r"\bweights/(\w+)_backbone\.pth")
FRESH = re.compile(r"# Fresh: (?:norms ([\d, ]+))?(?:; )?(the pyramid)?(?:nothing; the class token is left out)?\.")
CLASSIFIERS = sorted(path for path in (ROOT / "configs").glob("*/cls*.py") if path.parent.name != "_base_")
DENSE = [leaf for leaf in LEAVES if leaf not in CLASSIFIERS]
FAMILIES = {cls.__name__: family for family, cls in BACKBONES.items()}


@cache
def backbone_of(leaf):
    return load_config(leaf).model.backbone


@cache
def twins():
    """Return the classifiers' files by type and variant of their backbone."""
    return {(backbone_of(path).type, backbone_of(path).variant): path for path in CLASSIFIERS}


def meta(spec):
    options = dict(spec)
    with torch.device("meta"):
        return BACKBONES[FAMILIES[options.pop("type")]](**options)


@needs_mmpretrain
@pytest.mark.parametrize("leaf", DENSE, ids=lambda leaf: f"{leaf.parent.name}/{leaf.stem}")
def test_the_named_file_is_that_of_the_twin_and_is_taken_with_the_named_fresh_parts(leaf):
    text, spec = leaf.read_text(), backbone_of(leaf)
    twin = twins().get((spec.type, spec.variant))
    if twin is None:
        assert "epoch_300.pth" not in text
        return
    assert INIT_CFG.findall(text) == [f"work_dirs/{twin.stem}/epoch_300.pth"]
    source = backbone_of(twin)
    if "mixers" in spec:  # which both runs are given
        source = {**source, "mixers": spec.mixers}
    weights = {f"backbone.{name}": value for name, value in meta(source).state_dict().items()}
    intake = fit_backbone(meta(spec), weights, "epoch_300.pth")

    norms, pyramid = FRESH.search(text).groups()
    named = {f"norms.{level}" for level in (norms or "").split(", ") if level} | ({"pyramid"} if pyramid else set())
    assert {re.sub(r"^(norms\.\d+|pyramid)\..*", r"\1", name) for name in intake.fresh} == named


@pytest.mark.parametrize("leaf", DENSE, ids=lambda leaf: f"{leaf.parent.name}/{leaf.stem}")
def test_where_weights_were_released_the_converted_file_is_named(leaf):
    spec = backbone_of(leaf)
    family = FAMILIES[spec.type]
    released = spec.type in ("LIT", "ToSADeiT", "ReducedDeiT")
    assert CONVERTED.findall(leaf.read_text()) == ([f"{family}_{spec.variant}"] if released else [])
    assert f"{family}_{spec.variant}" in list_backbones()
