"""A hook that measures the processor time of training steps, and ends the run when it has seen enough."""

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from effvit_mm.registry import HOOKS


@HOOKS.register_module()
class StepTimesHook(Hook):
    """Write the processor seconds of each step to ``<work dir>/step_times.json`` and leave.

    Processor time hardly depends on what else the machine does. With one thread it is the time by the clock on a
    machine that does nothing else; loading in other processes is not in it.

    Args:
        steps: How many steps; the first tenth warms up and is not written.
    """

    priority = "LOWEST"

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.ends: list[float] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Note the end of a step."""
        self.ends.append(time.process_time())
        if len(self.ends) > self.steps:
            ends = self.ends[self.steps // 10 :]
            seconds = [after - before for before, after in pairwise(ends)]
            Path(runner.work_dir, "step_times.json").write_text(json.dumps(seconds))
            raise SystemExit(0)
