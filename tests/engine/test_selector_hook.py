"""The selectors' loss enters any model's losses from outside, and the kept share falls as the run goes on."""

from types import SimpleNamespace

import pytest
import torch
from cases import SMALL_PLAIN
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from effvit_mm.backbones import DeiT, ToSADeiT
from effvit_mm.engine import KeepAnnealingHook, SelectorLossHook
from effvit_mm.errors import BadInputError


class Detector(BaseModel):
    """A model that knows nothing of selectors."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs, mode="tensor"):
        maps = self.backbone(inputs)
        return {"loss_task": sum(fmap.square().mean() for fmap in maps)} if mode == "loss" else maps


def model(cls=ToSADeiT, **options):
    torch.manual_seed(0)
    return Detector(cls(**{**SMALL_PLAIN, "drop_path_rate": 0.0, **options})).train()


def runner_of(network, *, iteration=0, max_iters=100):
    hub = MessageHub.get_instance("selector_hook_test")
    return SimpleNamespace(model=network, iter=iteration, max_iters=max_iters, message_hub=hub)


def hooked(network, **options):
    hook = SelectorLossHook(**options)
    hook.before_train(runner_of(network))
    return hook


def pictures():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def step(network, wrapper):
    return network.train_step({"inputs": pictures()}, wrapper)


def sgd(network):
    return torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)


def test_the_loss_joins_the_detectors_and_the_total():
    network = model()
    hooked(network)
    log = step(network, OptimWrapper(sgd(network)))
    assert log["loss_selector"] > 0
    torch.testing.assert_close(log["loss"], log["loss_task"] + log["loss_selector"])


def test_the_weight_scales_the_loss():
    logs = []
    for weight in (1.0, 0.25):
        network = model()
        hooked(network, weight=weight)
        logs.append(step(network, OptimWrapper(sgd(network)))["loss_selector"])
    torch.testing.assert_close(logs[1], 0.25 * logs[0])


def test_accumulated_steps_learn_what_one_step_of_the_mean_does():
    trained = []
    for counts in (1, 2):
        network = model()
        hooked(network)
        wrapper = OptimWrapper(sgd(network), accumulative_counts=counts)
        wrapper.initialize_count_status(network, 0, counts)
        for _ in range(counts):
            step(network, wrapper)
        trained.append(dict(network.backbone.selections.named_parameters()))
    for name, parameter in trained[0].items():
        torch.testing.assert_close(trained[1][name], parameter, msg=name)


def test_the_loss_is_scaled_like_the_detectors_and_finite_under_autocast():
    class Scaling(OptimWrapper):
        """Scales the loss as mixed precision does, and takes no step; MMEngine's own needs a GPU."""

        factor = 1.0

        def scale_loss(self, loss):
            return self.factor * loss

        def step(self, **_):
            pass

        def zero_grad(self, **_):
            pass

    gradients = []
    for factor in (1.0, 1024.0):
        network = model()
        hooked(network)
        wrapper = Scaling(sgd(network))
        wrapper.factor = factor
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert step(network, wrapper)["loss_selector"].isfinite()
        gradients.append([p.grad for p in network.backbone.selections.parameters()])
    for plain, scaled in zip(*gradients, strict=True):
        torch.testing.assert_close(scaled, 1024 * plain)


def test_evaluation_and_predictions_are_left_alone():
    network = model()
    hooked(network)
    assert isinstance(network(pictures(), mode="tensor"), tuple)
    assert set(network.eval()(pictures(), mode="loss")) == {"loss_task"}


def test_a_baseline_adds_no_loss():
    network = model(importance="own")
    hooked(network)
    assert set(network(pictures(), mode="loss")) == {"loss_task"}


def test_the_hook_leaves_the_model_as_it_was():
    network = model()
    hooked(network).after_train(runner_of(network))
    assert set(network(pictures(), mode="loss")) == {"loss_task"}


def test_a_model_that_selects_nothing_is_refused():
    with pytest.raises(BadInputError, match="has no backbone that selects tokens"):
        hooked(model(DeiT))


def test_a_teacher_is_dense_frozen_and_no_part_of_the_model(tmp_path):
    file = tmp_path / "dense.pth"
    torch.manual_seed(5)
    dense = model(DeiT)
    with torch.no_grad():
        for block in dense.backbone.blocks:
            block.mixer.qkv.weight.normal_()
    torch.save({"state_dict": dense.state_dict()}, file)
    plain, taught = model(), model()
    hooked(plain)
    hooked(taught, teacher=str(file))
    assert len(list(taught.parameters())) == len(list(plain.parameters()))
    losses = [network(pictures(), mode="loss")["loss_selector"] for network in (plain, taught)]
    assert losses[1] > 2 * losses[0]


@pytest.mark.filterwarnings("ignore:.*barrier.*:UserWarning")
def test_it_works_inside_the_wrapper_of_several_processes(tmp_path):
    import torch.distributed as dist
    from mmengine.model import MMDistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        network = model()
        wrapped = MMDistributedDataParallel(network)
        hooked(wrapped)
        log = step(wrapped, OptimWrapper(sgd(network)))
        assert log["loss_selector"] > 0
        # A second step: a parameter without gradient in the first would be found here.
        step(wrapped, OptimWrapper(sgd(network)))
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(("iteration", "keep"), [(0, 1.0), (20, 1.0), (35, 0.75), (50, 0.5), (99, 0.5)])
def test_the_share_falls_linearly_from_begin_to_end_and_evaluation_has_its_own(iteration, keep):
    network = model(keep=0.5)
    hook, runner = KeepAnnealingHook(begin=0.2, end=0.5), runner_of(network, iteration=iteration)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    assert network.backbone.keep == (keep, keep)
    hook.after_train_iter(runner, 0)
    assert network.backbone.keep == (0.5, 0.5)
    assert runner.message_hub.get_scalar("train/keep").current() == keep


@pytest.mark.parametrize("options", [{"start": 0}, {"begin": 0.6, "end": 0.5}, {"end": 1.2}])
def test_annealing_refuses_what_is_no_share(options):
    with pytest.raises(ValueError, match="KeepAnnealingHook"):
        KeepAnnealingHook(**options)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"SelectorLossHook\.weight=-1"):
        SelectorLossHook(weight=-1)


def test_hooks_are_known_by_name():
    from effvit_mm.registry import HOOKS

    assert HOOKS.get("SelectorLossHook") is SelectorLossHook
    assert HOOKS.get("KeepAnnealingHook") is KeepAnnealingHook
    assert issubclass(ToSADeiT, nn.Module)
