"""Every config loads, says what it is, fits together, and with its toy overlay takes a step and predicts."""

import ast
import re

import pytest
import torch
from cases import LEAVES, ROOT
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from effvit_mm.engine.figure_check import check_figures
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import load_config

pytestmark = [
    # Said by mmseg's losses, whatever they are given.
    pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore`` is False:UserWarning"),
    # Said where mmdet's metrics are imported.
    pytest.mark.filterwarnings("ignore:faster_coco_eval is not installed:UserWarning"),
]

OVERLAYS = ROOT / "configs/_base_/toy"
# Objects of every class are among them.
FEW_SCENES = {"toy_scenes.num_train": 5, "toy_scenes.num_val": 4}


def name_of(leaf):
    return f"{leaf.parent.name}/{leaf.stem}"


leaves = pytest.mark.parametrize("leaf", LEAVES, ids=name_of)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder that runs start from; the scenes rendered there serve every config."""
    return tmp_path_factory.mktemp("workplace")


@leaves
def test_leaf_says_what_it_trains_with_which_command_and_at_which_cost(leaf):
    text = ast.get_docstring(ast.parse(leaf.read_text()))
    assert f"python tools/train.py configs/{name_of(leaf)}.py" in text
    for word in ("Expected", "Cost"):
        assert word in text
    assert len(leaf.read_text().splitlines()) <= 40


@leaves
def test_leaf_inherits_bases_and_no_other_leaf(leaf):
    bases = Config.fromfile(leaf, format_python_code=False)._get_base_files(str(leaf))
    assert all(re.search(r"/_base_/|::_base_/", base) for base in bases), bases


@leaves
def test_leaf_fits_together_with_and_without_its_toy_overlay(leaf, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    for cfg in (load_config(leaf), load_config(leaf, overlays=OVERLAYS, options=FEW_SCENES)):
        check_model(cfg)
        check_figures(cfg, ("train", "val"))
        # A run must not fill the disk: the last few checkpoints and the best one.
        checkpoint = cfg.default_hooks.checkpoint
        assert checkpoint.type == "KeepingCheckpointHook"
        assert 1 <= checkpoint.max_keep_ckpts <= 3
        assert checkpoint.save_best


@leaves
def test_leaf_takes_a_training_step_and_predicts_on_toy_scenes(leaf, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    cfg = load_config(leaf, overlays=OVERLAYS, options=FEW_SCENES)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    # As MMEngine's Runner does outside a distributed run.
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
    train, val = (Runner.build_dataloader(loader, seed=0) for loader in (cfg.train_dataloader, cfg.val_dataloader))

    data = model.data_preprocessor(next(iter(train)), training=True)
    total, losses = model.parse_losses(model.train()(**data, mode="loss"))
    # A hook adds these in a run.
    total = total + sum(getattr(model.backbone, "auxiliary_losses", dict)().values())
    total.backward()
    assert total.isfinite(), losses
    without_gradient = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without_gradient

    with torch.no_grad():
        predictions = model.eval().test_step(next(iter(val)))
    assert len(predictions) == 2


@leaves
def test_toy_overlay_changes_no_part_of_the_backbone(leaf, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    toy = load_config(leaf, overlays=OVERLAYS, options=FEW_SCENES)
    assert toy.model.backbone == load_config(leaf).model.backbone
    assert toy.model.type == load_config(leaf).model.type


@leaves
def test_toy_overlay_sets_the_class_count_of_every_head(leaf, workplace, monkeypatch):
    if leaf.parent.name == "nyu":
        pytest.skip("depth has no classes")
    monkeypatch.chdir(workplace)
    toy = load_config(leaf, overlays=OVERLAYS, options=FEW_SCENES)
    counts = re.findall(r"num_classes=(\d+)", Config(dict(model=toy.model)).pretty_text)
    assert counts
    assert set(counts) == {str(len(toy.train_dataloader.dataset.metainfo.classes))}


def test_anchors_and_temperatures_do_not_decay():
    from mmengine.optim import build_optim_wrapper

    from effvit_mm import create_backbone

    cfg = load_config(ROOT / "configs/coco/maskrcnn_anchorformer.py")
    backbone = create_backbone("anchorformer_t")
    optimizer = build_optim_wrapper(backbone, cfg.optim_wrapper).optimizer
    decays = {id(group["params"][0]): group["weight_decay"] for group in optimizer.param_groups}
    for name, parameter in backbone.named_parameters():
        exempt = parameter.ndim == 1 or name.endswith("anchors")
        assert decays[id(parameter)] == (0.0 if exempt else 0.05), name
