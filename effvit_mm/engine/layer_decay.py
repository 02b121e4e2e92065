"""Layer-wise learning-rate decay: layers near the input, which pre-training settled, learn slower than the heads."""

from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from effvit_mm.engine.group_rates import base_of, kind_of, refuse_floor, refuse_one_peak, schedulers_of
from effvit_mm.errors import BadInputError
from effvit_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

NAME = "LayerDecayOptimWrapperConstructor"
# mmpretrain's reads the same key; it takes classifiers only, and no `lr_mult`.
READERS = (NAME, "LearningRateDecayOptimWrapperConstructor")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with learning rates that fall from the heads towards the input.

    A parameter of depth l of L (:meth:`~effvit_mm.backbones.dense_backbone.DenseBackbone.get_layer_depth`) learns at
    ``lr * layer_decay_rate ** (L - 1 - l)``, so everything behind the backbone's blocks learns at ``lr``. All else in
    ``paramwise_cfg`` keeps its meaning: multipliers of the learning rate multiply, exemptions from weight decay stay.
    Any model will do whose ``backbone`` has ``get_layer_depth``: a detector, segmenter, depth estimator or classifier.

    Args:
        optim_wrapper_cfg: As for the parent.
        paramwise_cfg: As for the parent, and ``layer_decay_rate``, above 0 and at most 1, where 1 changes nothing.

    Raises:
        BadInputError: If the rate is missing or out of range, or the backbone does not know the depth of its layers.

    Reference:
        Clark et al., "ELECTRA", ICLR 2020, appendix A; Bao et al., "BEiT", ICLR 2022, for images.

    Differs from the paper:
        Nothing; a later stage's token merging counts with the first block behind it.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        self.rate = _rate(self.paramwise_cfg)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs: Any) -> None:
        """Add the parameters of a module and of all in it to ``params``, a group each, at the rate of their depth."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return  # the parent comes by for every module; rates are set once, when all are there
        depth_of = _depths(module)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        for group in params:
            depth, num_depths = depth_of(names[id(group["params"][0])], "backbone.")
            group["lr"] = group.get("lr", self.base_lr) * self.rate ** (num_depths - 1 - depth)
        rates = sorted(group["lr"] for group in params)
        print_log(f"layer decay {self.rate}: learning rates from {rates[0]:.3g} to {rates[-1]:.3g}", "current")


def check_layer_decay(cfg: Config) -> None:
    """Check that a rate of decay in a config is read, and that the schedule does not undo it.

    Args:
        cfg: The config of a run that trains.

    Raises:
        BadInputError: If it would have no effect.
    """
    wrapper = cfg.optim_wrapper
    constructor = wrapper.get("constructor")
    if "layer_decay_rate" in (wrapper.get("paramwise_cfg") or {}) and constructor not in READERS:
        raise BadInputError(
            f"optim_wrapper.paramwise_cfg.layer_decay_rate is read by no constructor but {NAME}; set "
            f"optim_wrapper.constructor={NAME}, found {constructor!r}"
        )
    if constructor not in READERS:
        return
    if constructor == NAME:
        _rate(wrapper.get("paramwise_cfg") or {})
    for place, spec in schedulers_of(cfg):
        if kind_of(spec).endswith("LR"):
            refuse_one_peak(place, spec, str(constructor))
            refuse_floor(place, spec, base_of(wrapper, "lr"), str(constructor))


def _rate(paramwise_cfg: Any) -> float:
    rate = paramwise_cfg.get("layer_decay_rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise BadInputError(
            f"optim_wrapper.paramwise_cfg.layer_decay_rate is {rate!r}, expected a number above 0 and at most 1, "
            f"such as 0.75"
        )
    return float(rate)


def _depths(model: nn.Module) -> Any:
    backbone = getattr(model, "backbone", None)
    depth_of = getattr(backbone, "get_layer_depth", None)
    if depth_of is None:
        found = "no backbone" if backbone is None else f"the backbone {type(backbone).__name__}"
        raise BadInputError(
            f"{NAME} asks model.backbone.get_layer_depth, and {type(model).__name__} has {found} without it; take a "
            f"backbone of effvit_mm, or leave optim_wrapper.constructor out"
        )
    return depth_of
