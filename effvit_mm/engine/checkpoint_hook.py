"""A checkpoint hook that removes an old checkpoint only when the new one is there."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from effvit_mm.registry import HOOKS


@HOOKS.register_module()
class KeepingCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, which makes room for a checkpoint before it is written, the other way round.

    With ``max_keep_ckpts=1`` and a full disk the stock hook leaves nothing to resume from. Takes the same arguments.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave out what only a loader that runs code could read."""
        _drop_functions(checkpoint.get("param_schedulers", []))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        num_kept, self.max_keep_ckpts = self.max_keep_ckpts, -1
        kept = [kept_step for kept_step in getattr(self, "keep_ckpt_ids", ()) if kept_step != step] + [step]
        if num_kept > 0:
            # The checkpoint itself lists what lies beside it while it is written, the one about to go included: a run
            # that is killed before removing that one does so when it is resumed (MMEngine trims the list it finds).
            runner.message_hub.update_info("keep_ckpt_ids", kept[-num_kept - 1 :])
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.max_keep_ckpts = num_kept
        if num_kept > 0:
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept[-num_kept:])
            for old in kept[:-num_kept] if is_main_process() else ():
                Path(self.out_dir, self.filename_tmpl.format(old)).unlink(missing_ok=True)
            runner.message_hub.update_info("keep_ckpt_ids", kept[-num_kept:])


def _drop_functions(states: Any) -> None:
    """Remove functions from the states of parameter schedulers: the schedulers are built with them anyway."""
    for state in states.values() if isinstance(states, dict) else states:
        if isinstance(state, list):
            _drop_functions(state)
        else:
            for name in [name for name, value in state.items() if callable(value)]:
                del state[name]
