"""A small training run to kill and resume, in which everything that can be random is.

It writes ``losses.txt`` (a line an iteration), ``metrics.txt`` (a line a validation) and checkpoints.
"""

import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS
from torch import nn

from effvit_mm.checkpoint import make_loading_safe
from effvit_mm.engine.run import enable_resume
from effvit_mm.engine.runner import ExactRunner
from effvit_mm.registry import HOOKS, MODELS

NUM_SAMPLES, BATCH, EPOCHS = 11, 3, 4  # batches of 3, 3, 3 and 2
ITERATIONS = 16


@DATASETS.register_module()
class NoisyPoints(BaseDataset):
    """Points whose features are drawn anew at every visit, by all three generators."""

    def load_data_list(self):
        return [dict(value=float(i)) for i in range(NUM_SAMPLES)]

    def prepare_data(self, idx):
        noise = np.random.rand() + torch.rand(()).item()
        time.sleep(0.002)
        return dict(inputs=torch.tensor([self.get_data_info(idx)["value"], noise]), index=int(idx))


@MODELS.register_module()
class NoisyModel(BaseModel):
    """A network with dropout and a BatchNorm, so that its state and its randomness matter."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 1))

    def forward(self, inputs, index, mode="tensor"):
        out = self.net(torch.stack(list(inputs)) if isinstance(inputs, list) else inputs)
        if mode == "loss":
            return dict(loss=(out - 1).square().mean())
        return list(out + torch.rand_like(out))


@METRICS.register_module()
class MeanOutput(BaseMetric):
    """The mean of what the model gives."""

    def process(self, data_batch, data_samples):
        self.results.extend(float(sample) for sample in data_samples)
        time.sleep(0.01)

    def compute_metrics(self, results):
        return dict(mean=sum(results) / len(results))


@HOOKS.register_module()
class Diary(Hook):
    """Writes every loss and every metric, to the last bit."""

    # Before the checkpoint: a line that a kill makes be written again does no harm, a lost one does.
    priority = "LOW"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.write(runner, "losses.txt", f"{runner.iter} {outputs['loss'].item().hex()} {data_batch['index'].tolist()}")

    def after_val_epoch(self, runner, metrics=None):
        self.write(runner, "metrics.txt", f"{runner.iter} {metrics['mean'].hex()}")

    def before_val(self, runner):
        Path(runner.work_dir, "validating").touch()

    def after_val(self, runner):
        Path(runner.work_dir, "validating").unlink()

    def write(self, runner, name, line):
        with Path(runner.work_dir, name).open("a") as diary:
            diary.write(f"{line}\n")


def config(work_dir, loop, workers):
    by_epoch = loop == "epoch"
    loader = dict(
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=dict(type="DefaultSampler" if by_epoch else "InfiniteSampler", shuffle=True),
        dataset=dict(type="NoisyPoints"),
        collate_fn=dict(type="default_collate"),
    )
    train_cfg = (
        dict(type="EpochBasedTrainLoop", max_epochs=EPOCHS, val_interval=2)
        if by_epoch
        else dict(type="IterBasedTrainLoop", max_iters=ITERATIONS, val_interval=5)
    )
    return Config(
        dict(
            work_dir=str(work_dir),
            model=dict(type="NoisyModel"),
            train_dataloader=loader,
            val_dataloader=dict(loader, sampler=dict(type="DefaultSampler", shuffle=False)),
            val_evaluator=dict(type="MeanOutput"),
            train_cfg=train_cfg,
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01)),
            param_scheduler=dict(type="OneCycleLR", eta_max=0.02, total_steps=ITERATIONS, by_epoch=False),
            default_hooks=dict(
                checkpoint=dict(
                    type="KeepingCheckpointHook",
                    by_epoch=by_epoch,
                    interval=1,
                    max_keep_ckpts=2,
                    save_best="mean",
                    rule="greater",
                ),
                logger=dict(type="LoggerHook", interval=1, log_metric_by_epoch=by_epoch),
            ),
            log_processor=dict(by_epoch=by_epoch),
            custom_hooks=[dict(type="Diary"), dict(type="EMAHook")],
            randomness=dict(seed=7),
            env_cfg=dict(mp_cfg=dict(mp_start_method="fork")),
            default_scope="mmengine",
        )
    )


def train(work_dir, loop, workers, *, resume):
    """Train, from the last whole checkpoint if there is one and ``resume`` says so."""
    torch.set_num_threads(1)
    make_loading_safe()
    cfg = config(work_dir, loop, workers)
    if resume:
        enable_resume(cfg)
    ExactRunner.from_cfg(cfg).train()
