"""A misspelt argument of a hook, loop, data loader or optimizer wrapper is refused before anything is built."""

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from torch.utils.data import DataLoader

import effvit_mm.engine  # noqa: F401  (registers the hooks)
from effvit_mm.engine.argument_check import check_arguments
from effvit_mm.errors import BadInputError
from effvit_mm.registry import HOOKS


@HOOKS.register_module()
class PlainHook(Hook):
    def __init__(self, interval=1):
        self.interval = interval


@HOOKS.register_module()
class OpenHook(CheckpointHook):
    def __init__(self, *, suffix="", **kwargs):
        self.suffix = suffix
        super().__init__(**kwargs)


@HOOKS.register_module()
class TakerHook(Hook):
    def __init__(self, **numbers):
        self.numbers = numbers


def run_config(**sections):
    whole = dict(
        train_dataloader=dict(batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler"), dataset=dict()),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=2, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(type="TestLoop", fp16=False),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.1), paramwise_cfg=dict()),
        default_hooks=dict(
            checkpoint=dict(type="KeepingCheckpointHook", interval=1, save_best="auto", backend_args=None),
            timer=dict(type="IterTimerHook", priority="LOW"),
            param_scheduler=None,
        ),
        custom_hooks=[
            dict(type="PlainHook", interval=3, priority=10),
            dict(type="OpenHook", suffix="a", interval=1),
            dict(type="TakerHook", anything=3),
            dict(type=PlainHook, interval=3),
            dict(type="EMAHook", momentum=1e-4),
            PlainHook(),
        ],
    )
    return Config({**whole, **sections})


def test_arguments_that_are_taken_pass():
    check_arguments(run_config(), ("train", "val", "test"))


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("default_hooks.checkpoint.max_keep_ckpt", "max_keep_ckpts"),
        ("default_hooks.checkpoint.intervall", "interval"),
        ("default_hooks.timer.interval", "known: priority"),
        ("custom_hooks.0.intervals", "interval"),
        ("custom_hooks.3.intervals", "interval"),
        ("train_cfg.max_epoch", "max_epochs"),
        ("val_cfg.fp_16", "fp16"),
        ("test_cfg.fp_16", "fp16"),
        ("train_dataloader.batch_sise", "batch_size"),
        ("optim_wrapper.optimzer", "optimizer"),
        ("optim_wrapper.clip_grads", "clip_grad"),
    ],
)
def test_an_argument_that_nothing_takes_gets_near_names(path, near):
    cfg = run_config()
    cfg.merge_from_dict({path: 1})
    with pytest.raises(BadInputError) as caught:
        check_arguments(cfg, ("train", "val", "test"))
    assert str(caught.value).startswith(f"{path} is no argument of the ")
    assert near in str(caught.value)


def test_a_stock_checkpoint_hook_is_held_to_what_it_names():
    cfg = run_config(default_hooks=dict(checkpoint=dict(type="CheckpointHook", max_keep_ckpt=1)))
    with pytest.raises(BadInputError, match="max_keep_ckpt is no argument of the hook CheckpointHook"):
        check_arguments(cfg, ("train",))


@pytest.mark.parametrize(
    "hooks",
    [dict(default_hooks=dict(checkpoint=dict(type="CheckpointHok"))), dict(custom_hooks=[dict(type="CheckpointHok")])],
)
def test_a_hook_that_is_not_registered_gets_near_names(hooks):
    with pytest.raises(BadInputError, match=r"type='CheckpointHok' is not a registered hook; .*'CheckpointHook'"):
        check_arguments(run_config(**hooks), ("train",))


def test_sections_of_splits_that_are_not_run_are_left_alone():
    check_arguments(run_config(train_cfg=dict(max_epoch=1)), ("test",))


def test_a_constructor_of_the_users_may_want_other_arguments():
    check_arguments(run_config(optim_wrapper=dict(constructor="Mine", generator=dict())), ("train",))


def test_every_argument_of_torchs_data_loader_is_known():
    loader = dict.fromkeys(("pin_memory", "prefetch_factor", "drop_last", "persistent_workers", "timeout"))
    assert set(loader) <= set(DataLoader.__init__.__code__.co_varnames)
    check_arguments(run_config(train_dataloader=dict(loader, num_batch_per_epoch=3)), ("train",))


def test_a_misspelt_setting_of_the_randomness_is_refused():
    with pytest.raises(BadInputError, match=r"randomness\.sed is no setting of it; did you mean 'seed'"):
        check_arguments(run_config(randomness=dict(sed=1)), ("train",))
