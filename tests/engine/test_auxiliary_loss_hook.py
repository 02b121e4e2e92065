"""Losses of a network's parts enter any model's losses from outside, under their own names."""

from types import SimpleNamespace

import pytest
import torch
from cases import SMALL_PLAIN
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper

from effvit_mm.backbones import DeiT, ReducedDeiT
from effvit_mm.engine import AuxiliaryLossHook
from effvit_mm.errors import BadInputError


class Detector(BaseModel):
    """A model that knows nothing of reducers."""

    def __init__(self, *backbones):
        super().__init__()
        self.backbones = torch.nn.ModuleList(backbones)

    def forward(self, inputs, mode="tensor"):
        maps = [fmap for backbone in self.backbones for fmap in backbone(inputs)]
        return {"loss_task": sum(fmap.square().mean() for fmap in maps)} if mode == "loss" else maps


def backbone(cls=ReducedDeiT, **options):
    torch.manual_seed(0)
    return cls(**{**SMALL_PLAIN, "drop_path_rate": 0.0, **options})


def hooked(network, **options):
    hook = AuxiliaryLossHook(**options)
    hook.before_train(SimpleNamespace(model=network))
    return hook


def step(network):
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    return network.train().train_step({"inputs": torch.randn(2, 3, 64, 96)}, OptimWrapper(optimizer))


def test_the_loss_joins_the_models_and_the_total_under_its_name():
    network = Detector(backbone())
    hooked(network)
    log = step(network)
    assert log["loss_keep_ratio"] > 0
    torch.testing.assert_close(log["loss"], log["loss_task"] + log["loss_keep_ratio"])


def test_the_weight_scales_the_loss():
    logs = []
    for weight in (1.0, 0.25):
        network = Detector(backbone())
        hooked(network, weight=weight)
        logs.append(step(network)["loss_keep_ratio"])
    torch.testing.assert_close(logs[1], 0.25 * logs[0])


def test_losses_of_one_name_are_added_up():
    network = Detector(backbone(), backbone())
    losses = []
    for part in network.backbones:
        part.register_forward_hook(lambda module, args, maps: losses.extend(module._losses))
    hooked(network)
    torch.testing.assert_close(step(network)["loss_keep_ratio"], 2 * torch.stack(losses).sum() / 3)


def test_predictors_learn_from_the_loss():
    network = Detector(backbone())
    last = {name: value for name, value in network.named_parameters() if name.endswith("score.4.weight")}
    before = {name: value.clone() for name, value in last.items()}
    hooked(network)
    step(network)
    assert len(last) == 3
    assert not any(torch.equal(last[name], value) for name, value in before.items())


def test_evaluation_and_the_time_after_training_are_as_without_the_hook():
    network = Detector(backbone())
    hook = hooked(network)
    maps = network.eval()(torch.randn(1, 3, 64, 96))
    assert isinstance(maps, list)
    hook.after_train(SimpleNamespace(model=network))
    assert "loss_keep_ratio" not in step(network)


def test_a_model_without_such_a_part_is_refused_with_the_remedy():
    with pytest.raises(BadInputError, match="take AuxiliaryLossHook out of custom_hooks"):
        hooked(Detector(backbone(DeiT)))


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="weight=-1"):
        AuxiliaryLossHook(weight=-1)
