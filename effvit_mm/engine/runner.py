"""MMEngine's Runner for runs that get killed: exact to resume, whole checkpoints, and a console a person can read."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_rank, is_main_process
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import BaseLoop, Runner
from torch import distributed, nn
from torch.utils.data import DataLoader

from effvit_mm.checkpoint import written_whole
from effvit_mm.engine.batches_hook import BatchesHook, require_batches
from effvit_mm.engine.gradient_hook import GradientHook
from effvit_mm.engine.loops import ExactEpochLoop, ExactIterLoop
from effvit_mm.engine.resume_check import check_restored
from effvit_mm.engine.seeding import place_samples
from effvit_mm.engine.selector_hook import freeze_around_selectors
from effvit_mm.parent_death import end_workers_with_us

# Hundreds of lines at the start of every run, one for each frozen weight among them; the log file and the dumped config
# hold them.
FILE_ONLY = ("Config:\n", "Hooks will be executed", "\n" + "-" * 60 + "\nSystem environment:", "paramwise_options")
FILE_ONLY_ENDS = ("is skipped since its requires_grad=False",)
LOOPS = {"EpochBasedTrainLoop": ExactEpochLoop, "IterBasedTrainLoop": ExactIterLoop}


class ExactRunner(Runner):
    """A Runner whose killed and resumed run yields what the uninterrupted one would have, bit for bit on a CPU.

    Stock training loops of a config are built as :class:`ExactEpochLoop` and :class:`ExactIterLoop`, data loaders load
    each sample under the seed of its place, and checkpoints appear under their name only once they are whole.
    """

    _late_schedulers: Sequence[Any] = ()

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build MMEngine's data loader, load each sample under the seed of its place, and let workers end with us."""
        loader = end_workers_with_us(Runner.build_dataloader(dataloader, seed, diff_rank_seed))
        return loader if seed is None else place_samples(loader, seed=seed, rank=get_rank())

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop, an exact one where the config asks for a stock one."""
        if isinstance(loop, dict):
            loop = dict(loop)
            loop.pop("_scope_", None)
            by_epoch = loop.pop("by_epoch", None)
            name = loop.get("type") or ("EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop")
            if name in LOOPS:
                loop.pop("type", None)
                return _with_batches(LOOPS[name](**loop, runner=self, dataloader=self._train_dataloader), "train")
        return _with_batches(super().build_train_loop(loop), "train")

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the validation loop, whose loader must give a batch."""
        return _with_batches(super().build_val_loop(loop), "val")

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the test loop, whose loader must give a batch."""
        return _with_batches(super().build_test_loop(loop), "test")

    def dump_config(self) -> None:
        """Write nothing yet: a run that is refused would leave its config beside the checkpoints of another."""

    def train(self) -> nn.Module:
        """Train; gradients are looked at unless the config has its own way."""
        if not any(isinstance(hook, GradientHook) for hook in self.hooks):
            self.register_hook(GradientHook())
        self.register_hook(BatchesHook())
        return super().train()

    def load_or_resume(self) -> None:
        """Take in the weights, or go on with a run, and write the config into the work dir once that is done."""
        super().load_or_resume()
        super().dump_config()

    def resume(self, *args: Any, **kwargs: Any) -> None:
        """Go on with a run; schedules that had ended with it, and now end later, make the step that they left out."""
        super().resume(*args, **kwargs)
        for scheduler in self._late_schedulers:
            scheduler.step()

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint; where the run goes on from it, compare what it restores with the config.

        Raises:
            BadInputError: If both differ.
        """
        checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        if self._resume:
            self._late_schedulers = check_restored(self, checkpoint, filename)
        return checkpoint

    def test(self) -> dict[str, float]:
        """Test; a loop without a batch is refused."""
        self.register_hook(BatchesHook())
        return super().test()

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes, with what a selector stage freezes frozen.

        On CPUs, where torch has no SyncBN, plain BatchNorm takes its place.
        """
        freeze_around_selectors(model)
        if self.distributed and not torch.cuda.is_available():
            model = revert_sync_batchnorm(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build MMEngine's logger and take the long blocks off its console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: not _for_the_file_alone(record.getMessage()))
        return logger

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint under a temporary name and rename it once it is on the disk.

        Raises:
            NotSavedError: If the disk is full or the folder cannot be written; older checkpoints are as they were.
        """
        if "://" in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        remedy = "Earlier checkpoints are as they were; {first} (or give another --work-dir) and go on with --resume"
        with written_whole(Path(out_dir, filename), remedy=remedy, active=is_main_process()) as partial:
            super().save_checkpoint(out_dir, partial.name, *args, **kwargs)


def _with_batches(loop: BaseLoop, split: str) -> BaseLoop:
    require_batches(loop.dataloader, split)
    return loop


def _for_the_file_alone(message: str) -> bool:
    return message.startswith(FILE_ONLY) or message.endswith(FILE_ONLY_ENDS)


def prepare_processes(cfg: Config) -> None:
    """Let several processes train on a machine without a GPU, where MMEngine's launchers ask for CUDA.

    The process group is opened here, over gloo, so that the Runner finds it open; nothing changes where CUDA is
    there or one process runs alone.
    """
    if cfg.launcher != "pytorch" or torch.cuda.is_available() or distributed.is_initialized():
        return
    distributed.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    if cfg.get("strategy", {}).get("type") == "FSDPStrategy":
        cfg.strategy.setdefault("model_wrapper", ConfigDict()).device_id = torch.device("cpu")
    else:
        cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None)
