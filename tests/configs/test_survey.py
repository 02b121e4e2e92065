"""One config a task in which the token mixer is an option: every mixer trains in each, and a misspelt one is told."""

import re
import shlex

import pytest
import torch
from cases import CLASSIFIES, ROOT
from mmengine.config import DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

import effvit_mm
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError

# Said by mmseg's losses, whatever they are given.
pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore`` is False:UserWarning")

SURVEY = ROOT / "configs/survey"
OVERLAYS = ROOT / "configs/_base_/toy"
# Objects of every class are among them.
FEW_SCENES = {"toy_scenes.num_train": 5, "toy_scenes.num_val": 4}
METHODS = ("maskrcnn", "upernet", "cls") if CLASSIFIES else ("maskrcnn", "upernet")
# What a model predicts for a picture.
RESULTS = {
    "MaskRCNN": lambda sample: sample.pred_instances.scores,
    "EncoderDecoder": lambda sample: sample.seg_logits.data,
    "ImageClassifier": lambda sample: sample.pred_score,
}
TRY_ONE = (ROOT / "docs/mixers.md").read_text(encoding="utf-8").split("## Try one")[1].split("\n## ")[0]


@pytest.fixture(scope="module", params=METHODS)
def toy(request, tmp_path_factory):
    """A config on toy scenes, its model, two pictures to train on and two to test on: what a mixer does not change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("workplace"))
        cfg = load_config(SURVEY / f"{request.param}.py", overlays=OVERLAYS, options=FEW_SCENES)
        init_default_scope(cfg.default_scope)
        # As MMEngine's Runner does outside a distributed run.
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        batches = (
            next(iter(Runner.build_dataloader(loader, seed=0)))
            for loader in (cfg.train_dataloader, cfg.test_dataloader)
        )
        return cfg, model, *batches


@pytest.mark.parametrize("mixer", effvit_mm.list_mixers())
def test_mixer_trains_and_predicts_in_every_task(toy, mixer):
    cfg, model, batch, scenes = toy
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model.backbone = MODELS.build({**cfg.model.backbone, "mixers": mixer})
    total, losses = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode="loss"))
    model.zero_grad()
    total.backward()
    assert total.isfinite(), losses
    # DistributedDataParallel stops at one.
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    torch.optim.AdamW(model.backbone.parameters(), lr=1e-3).step()
    model.eval()
    with torch.no_grad():
        predicted = model.test_step(scenes)
    model.train()
    assert len(predicted) == len(scenes["inputs"])
    assert all(RESULTS[cfg.model.type](sample).isfinite().all() for sample in predicted)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_the_mixer_differs_between_two_of_them(method):
    dense = load_config(SURVEY / f"{method}.py")
    other = load_config(SURVEY / f"{method}.py", options={"model.backbone.mixers": "efficient"})
    check_model(other)
    assert other.model.backbone.pop("mixers") == "efficient"
    assert dense.model.backbone.pop("mixers") == "self"
    assert other._cfg_dict == dense._cfg_dict


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mixers", ["eficient", ["self", ["self", "eficient"], "self", "self"]])
def test_a_misspelt_mixer_is_answered_with_near_names(method, mixers):
    cfg = load_config(SURVEY / f"{method}.py", options={"model.backbone.mixers": mixers})
    message = r"model\.backbone: unknown token mixer 'eficient'; did you mean 'efficient'"
    with pytest.raises(BadInputError, match=message):
        check_model(cfg)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mixer", ["cross_covariance", "dual", "relative", "window", "anchor"])
def test_what_no_matrix_multiplies_with_does_not_decay(method, mixer):
    cfg = load_config(SURVEY / f"{method}.py")
    backbone = effvit_mm.create_backbone("pyramid_t", mixers=mixer, depths=(1, 1, 1, 1))
    groups = build_optim_wrapper(backbone, cfg.optim_wrapper).optimizer.param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    spared = [name for name, p in backbone.named_parameters() if decays[id(p)] == 0]
    expected = re.compile(r"(anchors|temperature|bias_table|norms?\.(\d+\.)?(weight|bias))$")
    assert {name for name, _ in backbone.named_parameters() if expected.search(name)} <= set(spared)
    assert all(backbone.get_parameter(name).ndim == 1 or expected.search(name) for name in spared)


def test_the_page_tries_every_task():
    assert {method for method in METHODS if f"configs/survey/{method}.py" in TRY_ONE} == set(METHODS)


@pytest.mark.parametrize(
    "command", re.findall(rf"^python tools/train.py .*/(?:{'|'.join(METHODS)})\.py .*", TRY_ONE, flags=re.M)
)
def test_a_command_of_the_page_names_a_model_that_fits_together(command):
    words = shlex.split(command)
    options = {}
    for word in words[words.index("--cfg-options") + 1 :]:
        path, value = word.split("=", maxsplit=1)
        options[path] = DictAction._parse_iterable(value)
    check_model(load_config(ROOT / words[2], options=options))
