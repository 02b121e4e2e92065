"""What selectors and a teacher add enters any model's losses from outside; the kept share falls as a run goes on."""

import copy
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
from effvit_mm.engine.selector_hook import freeze_around_selectors
from effvit_mm.errors import BadInputError


class Detector(BaseModel):
    """A model that knows nothing of selectors."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs, mode="tensor"):
        maps = self.backbone(inputs)
        return {"loss_task": sum(fmap.square().mean() for fmap in maps)} if mode == "loss" else maps


class Pool(nn.Module):
    def forward(self, maps):
        return torch.cat([fmap.mean(dim=(-2, -1)) for fmap in maps], dim=1)


class Classifier(Detector):
    """A model in parts, with a norm that notes what passes it."""

    def __init__(self, backbone):
        super().__init__(backbone)
        self.neck = nn.Sequential(Pool(), nn.BatchNorm1d(sum(backbone.channels)))
        self.head = nn.Linear(sum(backbone.channels), 5)

    def forward(self, inputs, mode="tensor"):
        logits = self.head(self.neck(self.backbone(inputs)))
        return {"loss_task": logits.logsumexp(-1).mean()} if mode == "loss" else logits


def model(cls=ToSADeiT, *, whole=Detector, **options):
    torch.manual_seed(0)
    return whole(cls(**{**SMALL_PLAIN, "drop_path_rate": 0.0, **options})).train()


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


def saved(network, file):
    torch.save({"state_dict": network.state_dict()}, file)
    return str(file)


@pytest.mark.parametrize("whole", [Detector, Classifier])
def test_at_a_share_of_one_a_network_is_no_distance_from_itself(whole, tmp_path):
    network = model(whole=whole, keep=1.0)
    network.eval()  # a norm in training is another function
    network.backbone.train()
    weights = {"feature_weight": 1.0, "logit_weight": 1.0 if whole is Classifier else 0.0}
    hooked(network, teacher=saved(network, tmp_path / "own.pth"), **weights)
    losses = network(pictures(), mode="loss")
    assert losses["loss_feature"] == 0
    assert losses.get("loss_logit", torch.tensor(0.0)).abs() < 1e-6


def test_features_are_compared_place_by_place_with_their_channels_normalised(tmp_path):
    network, dense = model(keep=0.3), model(DeiT)
    hooked(network, weight=0.0, teacher=saved(dense, tmp_path / "dense.pth"), feature_weight=0.5)
    found = network(pictures(), mode="loss")["loss_feature"]
    expected = 0
    for one, other in zip(network.backbone(pictures()), dense.eval().backbone(pictures()), strict=True):
        # 1e-5 is LayerNorm's: some levels vary by little more at first.
        sides = [
            (fmap - fmap.mean(1, keepdim=True)) / (fmap.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
            for fmap in (one, other)
        ]
        expected += 0.5 * (sides[0] - sides[1]).square().mean() / 4
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_logits_are_compared_by_their_divergence_from_the_teachers(tmp_path):
    network, dense = model(whole=Classifier, keep=0.3), model(DeiT, whole=Classifier)
    with torch.no_grad():
        dense.head.weight.mul_(3)
    hooked(network, teacher=saved(dense, tmp_path / "dense.pth"), logit_weight=0.5)
    network.neck.eval()
    found = network(pictures(), mode="loss")
    ours, theirs = network(pictures()).log_softmax(-1), dense.eval()(pictures()).log_softmax(-1)
    torch.testing.assert_close(found["loss_logit"], 0.5 * (theirs.exp() * (theirs - ours)).sum(-1).mean())
    assert "loss_feature" not in found


@pytest.mark.parametrize("importance", ["predicted", "random"])
def test_a_teacher_of_features_teaches_the_backbone_and_is_asked_once_a_step(importance, tmp_path, monkeypatch):
    network, calls = model(importance=importance), []
    dense_pass = ToSADeiT.dense_pass
    monkeypatch.setattr(ToSADeiT, "dense_pass", lambda self, x: calls.append(self) or dense_pass(self, x))
    hooked(network, teacher=saved(model(DeiT), tmp_path / "dense.pth"), feature_weight=1.0)
    network(pictures(), mode="loss")["loss_feature"].backward()
    assert len(calls) == 1
    assert network.backbone.patch_embed.weight.grad.abs().sum() > 0


def test_a_teacher_says_nothing_of_features_outside_the_joint_stage_or_in_evaluation(tmp_path):
    file = saved(model(DeiT), tmp_path / "dense.pth")
    for stage in ("dense", "selector"):
        network = model(stage=stage)
        hooked(network, teacher=file, feature_weight=1.0)
        assert "loss_feature" not in network(pictures(), mode="loss")
    network = model()
    hooked(network, teacher=file, feature_weight=1.0)
    assert set(network.eval()(pictures(), mode="loss")) == {"loss_task"}


@pytest.mark.parametrize("importance", ["scored", "random"])
def test_a_teacher_of_maps_where_nothing_learns_maps_is_refused(importance, tmp_path):
    file = saved(model(DeiT), tmp_path / "dense.pth")
    with pytest.raises(BadInputError, match=f"would teach nothing: .* importance='{importance}' has none"):
        hooked(model(importance=importance), teacher=file)


def test_a_teacher_without_what_it_is_to_teach_is_refused(tmp_path):
    weights = {name: value for name, value in model(DeiT).state_dict().items() if ".pyramid." not in name}
    file = tmp_path / "backbone.pth"
    torch.save({"state_dict": weights}, file)
    with pytest.raises(BadInputError, match="no features to teach"):
        hooked(model(), teacher=str(file), feature_weight=1.0)
    whole = saved(model(DeiT), tmp_path / "whole.pth")
    with pytest.raises(BadInputError, match="Detector has none"):
        hooked(model(), teacher=whole, logit_weight=1.0)
    with pytest.raises(BadInputError, match=r"does not fit the classifier: neck\.1\.bias is missing"):
        hooked(model(whole=Classifier), teacher=whole, logit_weight=1.0)


@pytest.mark.parametrize(("importance", "losses"), [("predicted", {"loss_selector"}), ("scored", set())])
def test_the_selector_stage_trains_the_selectors_and_leaves_all_else_as_it_was(importance, losses):
    network = model(whole=Classifier, stage="selector", importance=importance)
    freeze_around_selectors(network)
    hook = hooked(network)
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    network.train()
    hook.before_train_iter(runner_of(network), 0)
    log = step(network, OptimWrapper(optimizer))
    assert set(log) == {"loss", "loss_task", *losses}
    changed = {
        name.split(".")[1] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"selections"}


@pytest.mark.parametrize("stage", ["dense", "joint"])
def test_other_stages_freeze_nothing_around_the_backbone(stage):
    network = model(whole=Classifier, stage=stage)
    freeze_around_selectors(network)
    assert all(p.requires_grad for part in (network.neck, network.head) for p in part.parameters())


@pytest.mark.filterwarnings("ignore:.*barrier.*:UserWarning")
@pytest.mark.parametrize("stage", ["selector", "joint"])
@pytest.mark.parametrize("importance", ["predicted", "scored"])
def test_it_works_inside_the_wrapper_of_several_processes(stage, importance, tmp_path):
    import torch.distributed as dist
    from mmengine.model import MMDistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        network = model(whole=Classifier, stage=stage, importance=importance)
        freeze_around_selectors(network)
        wrapped = MMDistributedDataParallel(network)
        hooked(wrapped)
        log = step(wrapped, OptimWrapper(sgd(network)))
        assert importance == "scored" or log["loss_selector"] > 0
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


@pytest.mark.parametrize("stage", ["dense", "selector"])
def test_nothing_falls_in_a_stage_that_selects_nothing(stage):
    network = model(keep=0.5, stage=stage)
    hook, runner = KeepAnnealingHook(), runner_of(network)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0)
    assert network.backbone.keep == (0.5, 0.5)


@pytest.mark.parametrize("options", [{"start": 0}, {"begin": 0.6, "end": 0.5}, {"end": 1.2}])
def test_annealing_refuses_what_is_no_share(options):
    with pytest.raises(ValueError, match="KeepAnnealingHook"):
        KeepAnnealingHook(**options)


@pytest.mark.parametrize("name", ["weight", "feature_weight", "logit_weight"])
def test_a_negative_weight_is_refused(name):
    with pytest.raises(ValueError, match=rf"SelectorLossHook\.{name}=-1"):
        SelectorLossHook(**{name: -1})


@pytest.mark.parametrize("name", ["feature_weight", "logit_weight"])
def test_what_only_a_teacher_knows_needs_one(name):
    with pytest.raises(ValueError, match=rf"SelectorLossHook\.{name}=1 needs teacher"):
        SelectorLossHook(**{name: 1})


def test_hooks_are_known_by_name():
    from effvit_mm.registry import HOOKS

    assert HOOKS.get("SelectorLossHook") is SelectorLossHook
    assert HOOKS.get("KeepAnnealingHook") is KeepAnnealingHook
    assert issubclass(ToSADeiT, nn.Module)
