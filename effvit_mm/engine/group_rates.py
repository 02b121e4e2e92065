"""Multipliers of parameter groups (``lr_mult``, ``decay_mult``) under schedules that have one value for all groups."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.optim import OneCycleLR

from effvit_mm.errors import BadInputError, some_of
from effvit_mm.registry import PARAM_SCHEDULERS

# By the value that a schedule moves, the end of the settings that multiply it for single groups.
SUFFIXES = {"lr": "lr_mult", "weight_decay": "decay_mult"}
# What a scheduler names its lowest value, which is the same for every group.
FLOORS = {"CosineAnnealing": "eta_min", "CosineRestart": "eta_min", "Poly": "eta_min", "ReduceOnPlateau": "min_value"}
FREEZE = (
    "; to freeze a part, take it out of training instead: model.backbone.frozen_stages=4 for all stages of a backbone"
)


@PARAM_SCHEDULERS.register_module()
class PerGroupOneCycleLR(OneCycleLR):
    """MMEngine's ``OneCycleLR`` with a peak for each parameter group, in proportion to the group's own rate.

    ``lr_mult``, layer-wise rates and ``--auto-scale-lr`` keep their meaning; the stock schedule takes every group to
    the same ``eta_max``. Where all groups have the optimizer's ``lr``, both are equal.

    Args:
        optimizer: The optimizer or its wrapper.
        eta_max: The peak of a group that learns at the optimizer's ``lr``.
        **kwargs: As for the parent.
    """

    def __init__(self, optimizer: Any, eta_max: float = 0, **kwargs: Any) -> None:
        base = optimizer.defaults["lr"]
        peaks = [eta_max * (group.get("initial_lr", group["lr"]) / base) for group in optimizer.param_groups]
        super().__init__(optimizer, eta_max=peaks, **kwargs)
        self.eta_max = eta_max


def check_group_rates(cfg: Config) -> None:
    """Check that no schedule undoes the multipliers of parameter groups.

    Args:
        cfg: The config of a run that trains.

    Raises:
        BadInputError: If one takes every group to one value, or lifts a group above where it begins.
    """
    for place, spec in schedulers_of(cfg):
        value = _value_of(spec)
        undone = {where: factor for where, factor in multipliers_of(cfg.optim_wrapper, value).items() if factor != 1}
        if value == "lr" and (cfg.get("auto_scale_lr") or {}).get("enable"):
            refuse_one_peak(place, spec, "--auto-scale-lr")
        if undone:
            frozen = FREEZE if value == "lr" and 0 in undone.values() else ""
            refuse_one_peak(place, spec, _named(undone), frozen)
            base = _base(cfg, value)
            lifted = {where: factor for where, factor in undone.items() if _is_lifted(spec, base, factor)}
            if lifted:
                refuse_floor(place, spec, base, _named(lifted), frozen)


def describe_floors(cfg: Config) -> Iterator[str]:
    """Say where the groups of a run begin at rates of their own and end at the same floor.

    Args:
        cfg: The config of a run that trains.
    """
    for place, spec in schedulers_of(cfg):
        value, floor = _value_of(spec), floor_of(spec)
        undone = {where: factor for where, factor in multipliers_of(cfg.optim_wrapper, value).items() if factor != 1}
        if floor and undone:
            yield (
                f"{place} ({kind_of(spec)}) brings every group to {floor[0]}={floor[1]:g}, so {_named(undone)} holds "
                f"at the beginning and not at the end; --cfg-options {_remedy(place, spec, _base(cfg, value))} keeps it"
            )


def schedulers_of(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Walk over the schedulers of a config, of one optimizer or several, with their places.

    Args:
        cfg: The config of a run.
    """
    schedules = cfg.get("param_scheduler") or []
    named = {"param_scheduler": schedules}
    if isinstance(schedules, dict) and "type" not in schedules:
        named = {f"param_scheduler.{name}": one for name, one in schedules.items()}
    for path, one in named.items():
        several = isinstance(one, list | tuple)
        for i, spec in enumerate(one if several else [one]):
            if isinstance(spec, dict):
                yield (f"{path}.{i}" if several else path), spec


def multipliers_of(wrapper: Any, value: str) -> dict[str, float]:
    """Return the multipliers that an optimizer wrapper's dict has for single groups, by their places in the config.

    Args:
        wrapper: The dict.
        value: What they multiply: ``'lr'`` or ``'weight_decay'``; anything else has none.
    """
    paramwise, suffix = wrapper.get("paramwise_cfg"), SUFFIXES.get(value)
    if not isinstance(paramwise, dict) or suffix is None:
        return {}
    found = {key: factor for key, factor in paramwise.items() if key.endswith(f"_{suffix}")}
    keys = paramwise.get("custom_keys")
    for key, spec in keys.items() if isinstance(keys, dict) else ():
        if isinstance(spec, dict) and suffix in spec:
            found[f"custom_keys[{key!r}].{suffix}"] = spec[suffix]
    return {f"optim_wrapper.paramwise_cfg.{place}": factor for place, factor in found.items() if _is_number(factor)}


def refuse_one_peak(place: str, spec: Any, undone: str, more: str = "") -> None:
    """Refuse a schedule that takes every group to the same peak, whatever the rate it comes from.

    Args:
        place: Its place in the config.
        spec: Its dict.
        undone: What it undoes.
        more: The end of the message.

    Raises:
        BadInputError: If it is one.
    """
    if kind_of(spec) == "OneCycleLR" and not isinstance(spec.get("eta_max"), list | tuple):
        raise BadInputError(
            f"{place} is a OneCycleLR, which takes every group to the same eta_max and so undoes {undone}; expected "
            f"one with a peak for each group: --cfg-options {place}.type={PerGroupOneCycleLR.__name__} (or LinearLR "
            f"and CosineAnnealingLR){more}"
        )


def refuse_floor(place: str, spec: Any, base: float | None, undone: str, more: str = "") -> None:
    """Refuse a schedule that takes every group to the same floor.

    Args:
        place: Its place in the config.
        spec: Its dict.
        base: The value that the optimizer has for groups without a multiplier; None where it is not known.
        undone: What it undoes.
        more: The end of the message.

    Raises:
        BadInputError: If it has a floor.
    """
    floor = floor_of(spec)
    if floor:
        raise BadInputError(
            f"{place}.{floor[0]}={floor[1]!r} is one value that the {kind_of(spec)} takes every group to, which undoes "
            f"{undone}; expected a floor relative to each group's own, or none: --cfg-options "
            f"{_remedy(place, spec, base)}{more}"
        )


def floor_of(spec: Any) -> tuple[str, float] | None:
    """Return the setting of a scheduler's floor and its value; None where it has none, or one for each group."""
    kind = kind_of(spec)
    setting = next((name for start, name in FLOORS.items() if kind.startswith(start)), None)
    floor = spec.get(setting) if setting else None
    return (setting, floor) if setting and _is_number(floor) and floor > 0 else None


def kind_of(spec: Any) -> str:
    """Return the name of a scheduler's class, without its library."""
    return str(getattr(spec.get("type"), "__name__", spec.get("type"))).rpartition(".")[2]


def base_of(wrapper: Any, value: str) -> float | None:
    """Return what the optimizer's dict says of a value; None where it says no number."""
    base = (wrapper.get("optimizer") or {}).get(value)
    return base if _is_number(base) else None


def _base(cfg: Config, value: str) -> float | None:
    # How much --auto-scale-lr changes it depends on the number of processes.
    scaled = value == "lr" and (cfg.get("auto_scale_lr") or {}).get("enable")
    return None if scaled else base_of(cfg.optim_wrapper, value)


def _value_of(spec: Any) -> str:
    return "lr" if kind_of(spec).endswith("LR") else str(spec.get("param_name"))


def _is_lifted(spec: Any, base: float | None, factor: float) -> bool:
    floor = floor_of(spec)
    return floor is not None and (factor == 0 or (base is not None and floor[1] > base * factor * (1 + 1e-9)))


def _remedy(place: str, spec: Any, base: float | None) -> str:
    setting, floor = floor_of(spec) or ("eta_min", 0.0)
    if not kind_of(spec).startswith("Cosine"):
        return f"{place}.{setting}=0"
    return f"{place}.eta_min=None {place}.eta_min_ratio={floor / base if base else 0.01:.3g}"


def _named(undone: dict[str, float]) -> str:
    return some_of((f"{where}={factor:g}" for where, factor in undone.items()), most=3)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
