"""A checkpoint hook that removes an old checkpoint only when the new one is there."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from effvit_mm.engine.dataset_spec import evaluators_of
from effvit_mm.engine.figure_check import figures_of
from effvit_mm.errors import BadInputError
from effvit_mm.registry import HOOKS, near_names


@HOOKS.register_module()
class KeepingCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, which makes room for a checkpoint before it is written, the other way round.

    With ``max_keep_ckpts=1`` and a full disk the stock hook leaves nothing to resume from. Takes the same arguments.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave out what only a loader that runs code could read."""
        _drop_functions(checkpoint.get("param_schedulers", []))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the checkpoint if it is the best so far; the one of this epoch is there already.

        Raises:
            BadInputError: If a figure of ``save_best`` is none that the evaluators give, or cannot be judged. Of most
                metrics that is said before the run.
        """
        missing = [name for name in self.save_best or () if name not in ("auto", *metrics)]
        if missing and metrics:
            if missing[0] in _known_figures(runner):
                runner.logger.warning(f"this validation gives no {missing[0]}: the best checkpoint stays as it is")
                return
            raise BadInputError(
                f"default_hooks.checkpoint.save_best has {missing[0]!r}, and the figures of the validation are "
                f"{', '.join(metrics)}; {near_names(missing[0], metrics)}. Correct it and go on with --resume"
            )
        try:
            super().after_val_epoch(runner, metrics)
        except ValueError as error:
            if "Cannot infer the rule" not in str(error):
                raise
            raise BadInputError(
                f"default_hooks.checkpoint.save_best='auto' takes the first of {', '.join(metrics)}, and whether more "
                f"or less of it is better cannot be guessed; set rule='greater' or rule='less' and go on with --resume"
            ) from error

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
            present = {self.filename_tmpl.format(kept_step) for kept_step in kept[-num_kept:]}
            for old in kept[:-num_kept] if is_main_process() else ():
                name = self.filename_tmpl.format(old)
                if name not in present:  # a template without a number has one name for all
                    Path(self.out_dir, name).unlink(missing_ok=True)
            runner.message_hub.update_info("keep_ckpt_ids", kept[-num_kept:])


def _known_figures(runner: Runner) -> set[str]:
    given = [figures_of(runner.cfg, "val", evaluator) for evaluator in evaluators_of(runner.cfg, "val")]
    return {name for figures in given for name in figures or ()}


def _drop_functions(states: Any) -> None:
    """Remove functions from the states of parameter schedulers: the schedulers are built with them anyway."""
    for state in states.values() if isinstance(states, dict) else states:
        if isinstance(state, list):
            _drop_functions(state)
        else:
            for name in [name for name, value in state.items() if callable(value)]:
                del state[name]
