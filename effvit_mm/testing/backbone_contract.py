"""The contract of a backbone, a check a function: what a stock neck, head or hook of OpenMMLab relies on."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from effvit_mm.testing.gradients import assert_gradients_above_rounding

BackboneFactory = Callable[..., nn.Module]
"""``(**options) -> backbone``; small sizes, and ``options`` passed on to the class."""


def check_backbone(factory: BackboneFactory) -> None:
    """Run every check of :data:`BACKBONE_CHECKS`; an AssertionError says which promise is broken."""
    for check in BACKBONE_CHECKS:
        check(factory)


def check_maps_have_promised_shapes(factory: BackboneFactory) -> None:
    """Maps are ``(B, channels[i], ceil(H / strides[i]), ceil(W / strides[i]))`` for any picture."""
    backbone = _built(factory)
    for height, width in ((64, 96), (65, 97), (33, 70)):
        maps = backbone(_pictures(height, width))
        assert isinstance(maps, tuple)
        assert len(maps) == len(backbone.channels) == len(backbone.strides)
        for fmap, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
            expected = (2, channels, math.ceil(height / stride), math.ceil(width / stride))
            assert fmap.shape == expected, f"{height}x{width}, stride {stride}: {tuple(fmap.shape)}, not {expected}"


def check_small_picture_is_refused(factory: BackboneFactory) -> None:
    """A picture smaller than the largest stride is a ValueError that names the size and the stride."""
    backbone = _built(factory)
    largest = max(backbone.strides)
    message = ""
    try:
        backbone(_pictures(largest - 1, 2 * largest))
    except ValueError as error:
        message = str(error)
    assert message, "a picture smaller than the largest stride was accepted"
    assert str(largest - 1) in message, f"the message does not name the size: {message}"
    assert str(largest) in message, f"the message does not name the stride: {message}"


def check_out_indices_choose_levels(factory: BackboneFactory) -> None:
    """``out_indices`` returns the same maps as the whole pyramid, and builds no weight that gets no gradient."""
    whole, pictures = _built(factory), _pictures(64, 96)
    for indices in ((3,), (0, 2)):
        part = _built(factory, out_indices=indices)
        assert part.channels == tuple(whole.channels[i] for i in indices)
        part.load_state_dict({name: whole.state_dict()[name] for name in part.state_dict()})
        for fmap, i in zip(part(pictures), indices, strict=True):
            torch.testing.assert_close(fmap, whole(pictures)[i])
        _assert_all_learn(_built(factory, out_indices=indices, drop_path_rate=0.0))


def check_pictures_do_not_mix(factory: BackboneFactory) -> None:
    """A picture's maps do not depend on the other pictures of its batch."""
    backbone, pictures = _built(factory), _pictures(65, 97)
    alone = [torch.cat(maps) for maps in zip(*(backbone(picture[None]) for picture in pictures), strict=True)]
    for together, single in zip(backbone(pictures), alone, strict=True):
        torch.testing.assert_close(together, single)


def check_every_parameter_learns(factory: BackboneFactory) -> None:
    """Every parameter gets a finite gradient, above rounding, from the maps and the auxiliary losses together."""
    _assert_all_learn(_built(factory, drop_path_rate=0.0))


def check_padding_keeps_gradients_in_bounds(factory: BackboneFactory) -> None:
    """Where a batch is padded with zeros, no parameter's first gradient is over 10 times that without padding."""
    bare, padded = (_first_gradients(factory, padded=padded) for padded in (False, True))
    # A shift that a normalisation or a softmax takes out leaves nothing but rounding, before and after.
    floor = 1e-6 * max(bare.values())
    for name, norm in padded.items():
        bound = 10 * max(bare[name], floor)
        assert norm <= bound, f"padding raises the gradient of {name} from {bare[name]:.2g} to {norm:.2g}"


def check_autocast_stays_finite(factory: BackboneFactory) -> None:
    """Maps are finite under bf16 autocast, and near those of fp32."""
    backbone, pictures = _built(factory).float(), _pictures(64, 96).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = backbone(pictures)
    for fmap, reference in zip(low, backbone(pictures), strict=True):
        assert fmap.isfinite().all()
        error = (fmap.float() - reference).abs().mean() / reference.abs().mean()
        assert error < 0.1, f"bf16 maps differ from fp32 by {error:.0%}"


def check_state_dict_round_trip(factory: BackboneFactory) -> None:
    """Another instance that loads the state dict strictly computes the same."""
    backbone, twin, pictures = _built(factory), _built(factory, seed=1), _pictures(64, 96)
    twin.load_state_dict(backbone.state_dict(), strict=True)
    for ours, theirs in zip(backbone(pictures), twin(pictures), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def check_checkpointing_changes_nothing(factory: BackboneFactory) -> None:
    """``with_cp`` gives the same maps and gradients, and recomputes in the backward pass.

    Running statistics are not compared: the batch norms of some mixers count a step's pictures twice.
    """
    gradients = []
    for with_cp in (False, True):
        backbone = _built(factory, with_cp=with_cp, drop_path_rate=0.0).train()
        count = _SavedElements()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = _random_sum(backbone(_pictures(64, 96)))
        loss.backward()
        gradients.append(([p.grad for p in backbone.parameters()], count.total))
    (plain, plain_saved), (recomputed, recomputed_saved) = gradients
    for ours, theirs in zip(recomputed, plain, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert recomputed_saved < plain_saved, "with_cp keeps as many activations as a plain forward"


def check_frozen_stages_stay_frozen(factory: BackboneFactory) -> None:
    """``frozen_stages`` takes stages out of training, and ``.train()`` does not bring them back."""
    num_frozen = []
    for stages in (-1, 0, 1, 4):
        backbone = _built(factory, frozen_stages=stages).train()
        frozen = [name for name, p in backbone.named_parameters() if not p.requires_grad]
        num_frozen.append(len(frozen))
        for name, module in backbone.named_modules():
            own = list(module.parameters(recurse=False))
            if own and not any(p.requires_grad for p in own):
                assert not module.training, f"frozen_stages={stages}: {name} is back in training"
    assert num_frozen[0] == 0, "frozen_stages=-1 freezes something"
    assert num_frozen == sorted(set(num_frozen)), f"more frozen stages do not freeze more: {num_frozen}"
    assert num_frozen[-1] == len(list(backbone.parameters())), "frozen_stages=4 leaves something to learn"


def check_drop_path_acts_in_training_only(factory: BackboneFactory) -> None:
    """``drop_path_rate`` makes training maps random and leaves evaluation maps as they are."""
    pictures = _pictures(64, 96)
    backbone = _built(factory, drop_path_rate=0.5)
    for first, second in zip(backbone(pictures), backbone(pictures), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    backbone.train()
    assert not torch.equal(backbone(pictures)[-1], backbone(pictures)[-1]), "two training passes are equal"


def check_init_weights_leaves_nothing(factory: BackboneFactory) -> None:
    """``init_weights`` draws every parameter anew, so that of NaN in all none is left; a second call does nothing."""
    backbone = _built(factory)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.fill_(math.nan)
    backbone.init_weights()
    untouched = [name for name, p in backbone.named_parameters() if p.isnan().any()]
    assert not untouched, f"init_weights leaves {untouched}"
    drawn = copy.deepcopy(backbone.state_dict())
    backbone.init_weights()
    again = [name for name, value in backbone.state_dict().items() if not torch.equal(value, drawn[name])]
    assert not again, f"a second init_weights, which applies no init_cfg, draws {again}"


BACKBONE_CHECKS: tuple[Callable[[BackboneFactory], None], ...] = (
    check_maps_have_promised_shapes,
    check_small_picture_is_refused,
    check_out_indices_choose_levels,
    check_pictures_do_not_mix,
    check_every_parameter_learns,
    check_padding_keeps_gradients_in_bounds,
    check_autocast_stays_finite,
    check_state_dict_round_trip,
    check_checkpointing_changes_nothing,
    check_frozen_stages_stay_frozen,
    check_drop_path_acts_in_training_only,
    check_init_weights_leaves_nothing,
)


class _SavedElements:
    """Counts the elements that autograd keeps for the backward pass."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        self.total += tensor.numel()
        return tensor


def _built(factory: BackboneFactory, *, seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return factory(**options).double().eval()


def _pictures(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, height, width, dtype=torch.float64, generator=generator)


def _random_sum(maps: tuple[Tensor, ...]) -> Tensor:
    """Add up maps, every value times a draw: the squares of what a norm gives have the same sum for all weights."""
    generator = torch.Generator().manual_seed(3)
    products = [fmap * torch.randn(fmap.shape, dtype=fmap.dtype, generator=generator) for fmap in maps]
    return torch.stack([product.sum() for product in products]).sum()


def _first_gradients(factory: BackboneFactory, *, padded: bool, num_losses: int = 8) -> dict[str, float]:
    """Return the size of each parameter's gradient, root mean square over losses that are random sums of the maps.

    One loss would not do: the gradient of a single number, such as a temperature, is near 0 by chance.
    """
    backbone, images = _built(factory, drop_path_rate=0.0).train(), _pictures(96, 128)
    if padded:
        images[:, :, 80:] = 0
        images[:, :, :, 96:] = 0
    generator = torch.Generator().manual_seed(2)
    maps = backbone(images)
    auxiliary = sum(backbone.auxiliary_losses().values()) if hasattr(backbone, "auxiliary_losses") else 0.0
    names, parameters = zip(*backbone.named_parameters(), strict=True)
    squares = torch.zeros(len(names), dtype=torch.float64)
    for _ in range(num_losses):
        loss = auxiliary
        for fmap in maps:
            loss = loss + (fmap * torch.randn(fmap.shape, dtype=fmap.dtype, generator=generator)).mean()
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        squares += torch.stack([gradient.square().sum() for gradient in gradients])
    return dict(zip(names, (squares / num_losses).sqrt().tolist(), strict=True))


def _assert_all_learn(backbone: nn.Module) -> None:
    # Auxiliary losses are collected in training only.
    has_losses = hasattr(backbone, "auxiliary_losses")
    total = _random_sum(backbone.train(has_losses)(_pictures(64, 96)))
    if has_losses:
        total = total + sum(backbone.auxiliary_losses().values())
    total.backward()
    assert_gradients_above_rounding(backbone)
