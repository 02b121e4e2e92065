"""What docs/running.md offers beside a config: the average of weights, accumulation, bf16; each does what it says."""

import re
import shlex

import pytest
import torch
from cases import ROOT, SMALL
from kill_run import config
from mmengine.config import DictAction
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper

from effvit_mm.backbones import Pyramid
from effvit_mm.checkpoint import load_safely, make_loading_safe
from effvit_mm.engine.config_check import check_config
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import enable_amp, enable_resume, load_config
from effvit_mm.engine.runner import ExactRunner

PAGE = (ROOT / "docs/running.md").read_text().split("## Training switches")[1].split("\n## ")[0]
SWITCHES = re.findall(r"^\| [^|]+ \| `(--[^`]+)` \|", PAGE, flags=re.M)
LEAVES = ("coco/retinanet_lit", "ade20k/upernet_pyramid", "nyu/depth_anchorformer", "imagenet/cls_tosa")
MOMENTUM = 0.25


class Watch(Hook):
    """Notes the weights behind every iteration, and those that a validation computes with."""

    def __init__(self):
        self.trained, self.validated = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(runner.model.net[0].weight.detach().clone())

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.validated.append(runner.model.net[0].weight.detach().clone())


def averaged_run(work_dir, num_iters, *, resume=False):
    make_loading_safe()
    cfg = config(work_dir, "iter", 0)
    cfg.merge_from_dict({"default_hooks.ema.type": "EMAHook", "default_hooks.ema.momentum": MOMENTUM})
    cfg.merge_from_dict(dict(custom_hooks=[], param_scheduler=None))
    cfg.train_cfg.update(max_iters=num_iters, val_interval=3)
    cfg.experiment_name = f"{work_dir.name}_{num_iters}"
    if resume:
        enable_resume(cfg)
    runner, watch = ExactRunner.from_cfg(cfg), Watch()
    runner.register_hook(watch, priority="LOWEST")
    runner.train()
    return watch


def average_of(weights):
    average = weights[0]
    for weight in weights[1:]:
        average = (1 - MOMENTUM) * average + MOMENTUM * weight
    return average


def test_validation_and_checkpoint_take_the_average_and_training_goes_on_without_it(tmp_path):
    watch = averaged_run(tmp_path, 3)
    average = average_of(watch.trained)
    torch.testing.assert_close(watch.validated[-1], average)
    saved = load_safely(tmp_path / "iter_3.pth")
    torch.testing.assert_close(saved["state_dict"]["net.0.weight"], average)
    assert torch.equal(saved["ema_state_dict"]["module.net.0.weight"], watch.trained[-1])
    assert not torch.equal(average, watch.trained[-1])


def test_a_resumed_run_goes_on_with_weights_and_average(tmp_path):
    whole = averaged_run(tmp_path / "whole", 5)
    averaged_run(tmp_path / "parts", 3)
    resumed = averaged_run(tmp_path / "parts", 5, resume=True)
    assert torch.equal(resumed.trained[-1], whole.trained[-1])
    assert torch.equal(resumed.validated[-1], whole.validated[-1])


class Model(BaseModel):
    """A pyramid with layer norms, and a loss that is a mean over pictures."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Pyramid(**SMALL, drop_path_rate=0.0)

    def forward(self, inputs, mode="tensor"):
        maps = self.backbone(inputs)
        # Of one channel: the mean square of all that a norm gives depends on no weight before it.
        return {"loss": sum(fmap[:, 0].square().mean() for fmap in maps)} if mode == "loss" else maps


def pictures(num):
    return torch.randn(num, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_half_batches_accumulated_are_one_batch():
    trained, batch = [], pictures(4).double()
    for parts in ([batch], [batch[:2], batch[2:]]):
        model = Model().double().train()
        spec = dict(optimizer=dict(type="SGD", lr=0.1), clip_grad=dict(max_norm=0.5), accumulative_counts=len(parts))
        wrapper = build_optim_wrapper(model, spec)
        wrapper.initialize_count_status(model, 0, len(parts))
        before = model.backbone.norms["3"].weight.detach().clone()
        for part in parts:
            assert torch.equal(model.backbone.norms["3"].weight, before), "a step before the last part"
            model.train_step(dict(inputs=part), wrapper)
        trained.append(dict(model.named_parameters()))
        assert not torch.equal(model.backbone.norms["3"].weight, before)
    for name, parameter in trained[0].items():
        torch.testing.assert_close(trained[1][name], parameter, msg=name)


@pytest.mark.filterwarnings("ignore:.*GradScaler is enabled, but CUDA is not available:UserWarning")
def test_bf16_is_computed_in_and_weights_stay_in_fp32(monkeypatch):
    # MMEngine's wrapper asks for an accelerator; autocast on a CPU knows bf16, too.
    monkeypatch.setattr("mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available", lambda: True)
    model = Model().to(get_device()).train()
    options = load_config(
        ROOT / "configs/coco/retinanet_lit.py", options=enable_amp({"optim_wrapper.dtype": "bfloat16"})
    )
    wrapper = build_optim_wrapper(model, options.optim_wrapper)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    dtypes = []
    model.backbone.stages[1].blocks[0].mlp.fc1.register_forward_hook(lambda *called: dtypes.append(called[2].dtype))
    model.train_step(dict(inputs=pictures(2).to(get_device())), wrapper)
    assert dtypes == [torch.bfloat16]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def values_of(words):
    options = {}
    for word in words[words.index("--cfg-options") + 1 :]:
        path, value = word.split("=", maxsplit=1)
        options[path] = DictAction._parse_iterable(value)
    return enable_amp(options) if "--amp" in words else options


@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_of_the_page_fits_every_kind_of_config(switch, leaf):
    cfg = load_config(ROOT / f"configs/{leaf}.py", options=values_of(shlex.split(switch)))
    check_config(cfg, ("train",))
    check_model(cfg)


def test_the_page_has_a_row_for_every_switch():
    keys = {path for switch in SWITCHES for path in values_of(shlex.split(switch))}
    assert {path.split(".")[-1] for path in keys} >= {"layer_decay_rate", "with_cp", "dtype", "accumulative_counts"}
    assert "default_hooks.ema.type" in keys


# Said by mmseg's losses, whatever they are given.
@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore`` is False:UserWarning")
@pytest.mark.parametrize("command", re.findall(r"^python tools/train.py .*", PAGE, flags=re.M))
def test_a_command_of_the_page_passes_the_checks(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    few = {"toy_scenes.num_train": 5, "toy_scenes.num_val": 4}
    leaf, options = ROOT / words[2], {**values_of(words), **few}
    cfg = load_config(leaf, overlays=ROOT / "configs/_base_/toy", options=options)
    check_config(cfg, ("train", "val"))
    check_model(cfg)
