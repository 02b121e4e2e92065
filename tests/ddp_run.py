"""A tiny training run for one or several processes, without anything random: both must learn the same.

python tests/ddp_run.py WORK_DIR BATCH
torchrun --nproc_per_node 2 tests/ddp_run.py WORK_DIR BATCH [--die]
"""

import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from torch import nn

from effvit_mm.engine.runner import ExactRunner, prepare_processes
from effvit_mm.registry import HOOKS, MODELS


@DATASETS.register_module()
class Points(BaseDataset):
    """Eight points on a line."""

    def load_data_list(self):
        return [dict(value=i / 8) for i in range(8)]

    def prepare_data(self, idx):
        return dict(inputs=torch.tensor([self.get_data_info(idx)["value"]]))


@MODELS.register_module()
class Line(BaseModel):
    """A network whose loss is a mean over the batch, with a norm that is synchronised on GPUs."""

    def __init__(self, norm):
        super().__init__()
        norms = {"SyncBN": nn.SyncBatchNorm(4), "LN": nn.LayerNorm(4)}
        self.net = nn.Sequential(nn.Linear(1, 4), norms[norm], nn.GELU(), nn.Linear(4, 1))

    def forward(self, inputs, mode="tensor"):
        return dict(loss=(self.net(inputs) - 1).square().mean())


@HOOKS.register_module()
class Die(Hook):
    """The second process is killed in its third iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work_dir, batch, *words = sys.argv[1:]
    cfg = Config(
        dict(
            work_dir=work_dir,
            launcher="pytorch" if "RANK" in os.environ else "none",
            model=dict(type="Line", norm="SyncBN" if "--sync-bn" in words else "LN"),
            train_dataloader=dict(
                batch_size=int(batch),
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=True),
                dataset=dict(type="Points"),
                collate_fn=dict(type="default_collate"),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            custom_hooks=[dict(type="Die")] if "--die" in words else [],
            randomness=dict(seed=7),
            default_scope="mmengine",
        )
    )
    prepare_processes(cfg)
    runner = ExactRunner.from_cfg(cfg)
    runner.train()
    if runner.rank == 0:
        model = getattr(runner.model, "module", runner.model)
        torch.save(model.state_dict(), Path(work_dir, "weights.pth"))


if __name__ == "__main__":
    main()
