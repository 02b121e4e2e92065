"""What is promised: every mixer and every backbone keeps its contract."""

import pytest
from cases import BACKBONES, MIXERS, REDUCERS, SMALL

from effvit_mm.backbones import Pyramid
from effvit_mm.registry import BACKBONES as FAMILIES
from effvit_mm.registry import TOKEN_MERGERS, TOKEN_MIXERS, TOKEN_REDUCERS
from effvit_mm.testing import BACKBONE_CHECKS, MIXER_CHECKS, REDUCER_CHECKS, check_padding_keeps_gradients_in_bounds


@pytest.mark.parametrize("check", MIXER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MIXERS)
def test_mixer_keeps_its_contract(name, check):
    check(MIXERS[name])


@pytest.mark.parametrize("check", REDUCER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", REDUCERS)
def test_reducer_keeps_its_contract(name, check):
    check(REDUCERS[name])


@pytest.mark.parametrize("check", BACKBONE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_keeps_its_contract(name, check):
    check(BACKBONES[name])


@pytest.mark.parametrize("name", sorted(TOKEN_MIXERS.module_dict.keys() - {"library"}))
def test_mixer_keeps_the_gradients_of_padded_images_in_bounds(name):
    check_padding_keeps_gradients_in_bounds(lambda **options: Pyramid(**{**SMALL, "mixers": name, **options}))


@pytest.mark.parametrize("name", TOKEN_MERGERS.module_dict)
def test_merger_keeps_the_gradients_of_padded_images_in_bounds(name):
    mergers = (name, *["patch" if name == "tokens_to_token" else name] * 3)
    check_padding_keeps_gradients_in_bounds(lambda **options: Pyramid(**{**SMALL, "mergers": mergers, **options}))


def test_every_registered_mechanism_and_family_has_a_case():
    built = {type(factory(24, 3)) for factory in MIXERS.values()}
    assert set(TOKEN_MIXERS.module_dict.values()) <= built
    assert set(TOKEN_REDUCERS.module_dict.values()) <= {type(factory(24, 3)) for factory in REDUCERS.values()}
    assert set(FAMILIES.values()) <= {type(factory()) for factory in BACKBONES.values()}
