"""A run tells how its anchors stand, at intervals, and warns once of those that coincide."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch
from cases import SMALL_PLAIN
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from effvit_mm.backbones import AnchorDeiT, DeiT
from effvit_mm.engine import AnchorHealthHook
from effvit_mm.errors import BadInputError
from effvit_mm.registry import HOOKS

LAYERS = [f"backbone.blocks.{i}.mixer" for i in range(4)]


class Detector(BaseModel):
    """A model that knows nothing of anchors."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs, mode="tensor"):
        maps = self.backbone(inputs)
        return {"loss_task": sum(fmap.square().mean() for fmap in maps)} if mode == "loss" else maps


class Scalars:
    """Takes the place of a visualizer."""

    def __init__(self):
        self.added = {}

    def add_scalars(self, scalars, step):
        self.added[step] = scalars


def model(mode="cosine", **options):
    torch.manual_seed(0)
    return Detector(AnchorDeiT(**{**SMALL_PLAIN, "drop_path_rate": 0.0, "num_anchors": 7, "mode": mode, **options}))


def runner_of(network, caplog=None):
    logger = logging.getLogger("anchor_health_test")
    logger.propagate = True
    hub = MessageHub(f"anchor_health_{id(network)}")
    return SimpleNamespace(model=network, iter=0, message_hub=hub, visualizer=Scalars(), logger=logger)


def pictures():
    return torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(1))


def iterations(hook, runner, count, step=None):
    step = step or (lambda: runner.model(pictures(), mode="loss")["loss_task"].backward())
    for _ in range(count):
        hook.before_train_iter(runner, runner.iter)
        step()
        hook.after_train_iter(runner, runner.iter)
        runner.iter += 1


def started(network, **options):
    hook, runner = AnchorHealthHook(**options), runner_of(network)
    hook.before_train(runner)
    return hook, runner


def hooks_on(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def test_scalars_of_every_layer_are_written_at_each_interval():
    hook, runner = started(model(), interval=3)
    iterations(hook, runner, 7)
    assert list(runner.visualizer.added) == [3, 6]
    names = {f"anchors/{layer}/{kind}" for layer in LAYERS for kind in ("entropy", "similarity", "effective")}
    assert set(runner.visualizer.added[3]) == names
    assert names <= set(runner.message_hub.log_scalars)


def test_the_log_has_the_least_effective_layer():
    network = model()
    nn.init.ones_(network.backbone.blocks[2].mixer.anchors)
    hook, runner = started(network, interval=1)
    iterations(hook, runner, 1)
    assert runner.message_hub.get_scalar("train/least_effective_anchors").current() == pytest.approx(1, abs=1e-5)


def test_nothing_stands_on_the_model_between_intervals_nor_after_the_run():
    network = model()
    hook, runner = started(network, interval=2)
    counts = []
    iterations(hook, runner, 4, step=lambda: counts.append(hooks_on(network)))
    assert counts == [0, 4, 0, 4]
    assert hooks_on(network) == 0
    hook.before_train_iter(SimpleNamespace(**{**vars(runner), "iter": 1}), 1)
    hook.after_train(runner)
    assert hooks_on(network) == 0


def test_a_collapsed_layer_is_warned_of_once_with_a_remedy(caplog):
    network = model(mode="paper")
    for i, block in enumerate(network.backbone.blocks):
        nn.init.normal_(block.mixer.key_value.weight)
        nn.init.normal_(block.mixer.anchors, std=3.0) if i else nn.init.ones_(block.mixer.anchors)
    hook, runner = started(network, interval=1)
    with caplog.at_level("WARNING"):
        iterations(hook, runner, 3)
        assert len(caplog.messages) == 1
        assert f"{LAYERS[0]} (1.00)" in caplog.messages[0]
        assert LAYERS[1] not in caplog.messages[0]
        assert "mode='apart'" in caplog.messages[0]
        nn.init.ones_(network.backbone.blocks[1].mixer.anchors)
        iterations(hook, runner, 2)
    assert len(caplog.messages) == 2
    assert LAYERS[0] not in caplog.messages[1]
    assert LAYERS[1] in caplog.messages[1]


def test_the_remedy_for_the_cosine_form_is_another(caplog):
    network = model()
    nn.init.ones_(network.backbone.blocks[0].mixer.anchors)
    hook, runner = started(network, interval=1)
    with caplog.at_level("WARNING"):
        iterations(hook, runner, 1)
    assert "learning rate" in caplog.messages[0]


def test_a_single_anchor_is_no_collapse(caplog):
    hook, runner = started(model(num_anchors=1), interval=1)
    with caplog.at_level("WARNING"):
        iterations(hook, runner, 1)
    assert not caplog.messages


def test_recomputed_blocks_give_the_numbers_of_others():
    written = []
    for with_cp in (False, True):
        hook, runner = started(model(with_cp=with_cp).train(), interval=1)
        iterations(hook, runner, 1)
        written.append(runner.visualizer.added[1])
    assert written[1] == pytest.approx(written[0])


@pytest.mark.filterwarnings("ignore:.*barrier.*:UserWarning")
def test_it_works_inside_the_wrapper_of_several_processes(tmp_path):
    import torch.distributed as dist
    from mmengine.model import MMDistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        assert get_rank() == 0
        hook, runner = started(MMDistributedDataParallel(model()), interval=1)
        iterations(hook, runner, 2)
        assert f"anchors/{LAYERS[0]}/effective" in runner.visualizer.added[2]
    finally:
        dist.destroy_process_group()


def test_a_run_has_the_scalars_in_its_files(tmp_path):
    runner = Runner(
        model=model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[pictures()[0]] * 4, batch_size=2, sampler=dict(type="DefaultSampler"), collate_fn=collate
        ),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        custom_hooks=[dict(type="AnchorHealthHook", interval=2)],
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        experiment_name="anchor_health",
    )
    runner.train()
    (file,) = tmp_path.rglob("scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    (measured,) = [line for line in lines if f"anchors/{LAYERS[3]}/effective" in line]
    assert measured["step"] == 2
    assert 1 < measured[f"anchors/{LAYERS[3]}/effective"] < 7
    assert [line["least_effective_anchors"] for line in lines if "least_effective_anchors" in line]


def collate(batch):
    return {"inputs": torch.stack(batch)}


def test_a_model_without_anchors_is_refused():
    with pytest.raises(BadInputError, match="Detector has no anchor attention"):
        started(Detector(DeiT(**SMALL_PLAIN)))


@pytest.mark.parametrize("options", [{"interval": 0}, {"least": 0.5}])
def test_a_number_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=rf"AnchorHealthHook\.{next(iter(options))}="):
        AnchorHealthHook(**options)


def test_the_hook_is_known_by_name():
    assert HOOKS.get("AnchorHealthHook") is AnchorHealthHook
