"""MMEngine's Runner with a console a person can read, and with processes on CPUs."""

import logging
import os
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import distributed

# Hundreds of lines at the start of every run; the log file and the dumped config hold them.
FILE_ONLY = ("Config:\n", "Hooks will be executed", "\n" + "-" * 60 + "\nSystem environment:")


class ConsoleRunner(Runner):
    """A Runner that writes its environment, its config and its hooks to the log file and not to the console."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build MMEngine's logger and take the long blocks off its console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: not record.getMessage().startswith(FILE_ONLY))
        return logger


def prepare_processes(cfg: Config) -> None:
    """Let several processes train on a machine without a GPU, where MMEngine's launchers ask for CUDA.

    The process group is opened here, over gloo, so that the Runner finds it open; nothing changes where CUDA is
    there or one process runs alone.
    """
    if cfg.launcher != "pytorch" or torch.cuda.is_available() or distributed.is_initialized():
        return
    distributed.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None)
