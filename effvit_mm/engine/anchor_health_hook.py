"""Do the anchors of a network in training stay apart? In the run's scalars, and a warning where they do not."""

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.hooks import RemovableHandle

from effvit_mm.analysis.anchor_health import Assignment, anchor_layers, watch_anchors
from effvit_mm.layers import AnchorAttention
from effvit_mm.registry import HOOKS

_MEASURES = ("entropy", "similarity", "effective")


@HOOKS.register_module()
class AnchorHealthHook(Hook):
    """Measure every anchor layer at every ``interval``-th iteration, on the pictures of that iteration.

    The numbers of :class:`~effvit_mm.analysis.anchor_health.AnchorHealth` go to the message hub, which a checkpoint
    keeps, and to the visualizer's backends (``scalars.json``) as ``anchors/<layer>/entropy``, ``.../similarity`` and
    ``.../effective``; the least effective layer's number into the log. In between nothing is added to the model. Of
    several processes the first one's pictures are measured; a compiled model is not, since it runs no hooks.

    Args:
        interval: Iterations from one measurement to the next.
        least: Effective anchors below which a layer is warned of, once; 1 is mean pooling.

    Raises:
        ValueError: If ``interval`` is less than 1, or ``least`` below 1.
    """

    def __init__(self, interval: int = 100, least: float = 1.2) -> None:
        if interval < 1:
            raise ValueError(f"AnchorHealthHook.interval={interval} must be at least 1 iteration")
        if least < 1:
            raise ValueError(f"AnchorHealthHook.least={least} must be at least 1, which is mean pooling")
        self.interval = interval
        self.least = least
        self._layers: dict[str, AnchorAttention] = {}
        self._handles: list[RemovableHandle] = []
        self._seen: dict[str, dict[str, list[float]]] = {}
        self._warned: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Find the layers, inside the wrapper of several processes."""
        self._layers = anchor_layers(runner.model)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Stand beside the layers if this iteration is measured."""
        self._leave()
        if self.every_n_train_iters(runner, self.interval):
            self._handles = watch_anchors(self._layers, self._see)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write what was seen, and leave the layers."""
        if not self._handles:
            return
        seen = self._leave()
        if not seen:
            return
        means = {
            f"anchors/{name}/{measure}": sum(values) / len(values)
            for name, measures in seen.items()
            for measure, values in measures.items()
        }
        runner.message_hub.update_scalars(means)
        runner.visualizer.add_scalars(means, step=runner.iter + 1)
        effective = {name: means[f"anchors/{name}/effective"] for name in seen}
        # The log has a line an interval: one number for all layers.
        runner.message_hub.update_scalar("train/least_effective_anchors", min(effective.values()))
        self._warn(runner, effective)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        self._leave()

    def _see(self, name: str, assignment: Assignment) -> None:
        health = assignment.health()
        measures = self._seen.setdefault(name, {measure: [] for measure in _MEASURES})
        for measure, values in measures.items():
            values.append(getattr(health, measure))

    def _leave(self) -> dict[str, dict[str, list[float]]]:
        """Remove the hooks; return what they saw and forget it."""
        for handle in self._handles:
            handle.remove()
        seen, self._handles, self._seen = self._seen, [], {}
        return seen

    def _warn(self, runner: Runner, effective: dict[str, float]) -> None:
        # One anchor is one effective anchor.
        several = [name for name in effective if self._layers[name].anchors.shape[-2] > 1]
        new = [name for name in several if effective[name] < self.least and name not in self._warned]
        if not new:
            return
        self._warned.update(new)
        listing = ", ".join(f"{name} ({effective[name]:.2f})" for name in new)
        runner.logger.warning(
            f"anchors coincide in {len(new)} layers, which then average all tokens: {listing} effective anchors, fewer "
            f"than {self.least}. {_remedy([self._layers[name] for name in new])}"
        )


def _remedy(layers: Sequence[AnchorAttention]) -> str:
    if any(layer.mode == "paper" for layer in layers):
        return (
            "They get hardly any gradient there: start again with model.backbone.mode='apart', whose anchors are "
            "apart from the first step on, or from DeiT's weights with anchors found from pictures (tools/convert.py "
            "--images)"
        )
    return (
        "Their temperature has grown or their keys have become alike: lower the learning rate or lengthen the warm-up, "
        "and see that anchors and log_temperature have no weight decay"
    )
