"""What a library says of a config's value is said with its place; what is no config's fault is left as it is."""

from importlib import import_module

import numpy as np
import pytest
import torch
from mmcv.image import imflip
from mmcv.transforms import RandomResize, Resize
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader

from effvit_mm.engine.explain import explained, path_of
from effvit_mm.engine.seeding import place_samples
from effvit_mm.errors import BadInputError


@MODELS.register_module()
class Picky(nn.Module):
    def __init__(self, size, *, halves=2):
        super().__init__()
        self.part = size // halves


def explained_build(spec):
    cfg = Config(dict(model=dict(type="Detector", heads=[dict(type="Other"), spec])))
    with pytest.raises(BadInputError) as caught, explained(cfg):
        MODELS.build(cfg.model.heads[1])
    return str(caught.value)


def test_what_cannot_be_built_is_named_by_its_path():
    assert "model.heads.1.type='Pickyy' is not a registered model; did you mean 'Picky'" in explained_build(
        dict(type="Pickyy", size=3)
    )
    assert "model.heads.1: Picky takes no argument 'halfs'; did you mean 'halves'" in explained_build(
        dict(type="Picky", size=3, halfs=1)
    )
    text = explained_build(dict(type="Picky", size=3, halves=0))
    assert text.startswith("model.heads.1 cannot be built (ZeroDivisionError")
    assert "halves=0" in text
    assert "test_explain.py:" in text


@MODELS.register_module()
class Lacking(nn.Module):
    def __init__(self):
        import_module("a_package_that_nobody_has")


def test_a_part_whose_package_is_missing_is_named_with_it():
    text = explained_build(dict(type="Lacking"))
    assert text.startswith("model.heads.1 cannot be built (ModuleNotFoundError: No module named 'a_package_that_nobody")


def test_a_key_that_a_library_misses_is_named_with_the_dict_it_belongs_to():
    cfg = Config(dict(model=dict(type="A", test_cfg=dict(score_thrr=1, nms=2))))
    with (
        pytest.raises(BadInputError, match=r"model.test_cfg lacks 'score_thr'; did you mean 'score_thrr'"),
        explained(cfg),
    ):
        cfg.model.test_cfg.score_thr  # noqa: B018


def test_a_piece_that_its_library_has_changed_is_still_found():
    cfg = Config(dict(model=dict(a=dict(type="X", size=1), b=dict(type="X", size=2))))
    assert path_of(cfg, dict(type="X", size=2, train_cfg=None)) == "model.b"


def test_bugs_of_our_own_and_a_full_memory_stay_what_they_are():
    from effvit_mm.registry import near_names

    with pytest.raises(TypeError), explained(Config()):
        near_names("a", None)
    with pytest.raises(torch.OutOfMemoryError), explained(Config()):
        raise torch.OutOfMemoryError("full")
    with pytest.raises(RuntimeError, match="anything"), explained(Config()):
        raise RuntimeError("anything")


def test_a_message_from_a_data_loaders_worker_comes_without_its_traceback():
    said = (
        "Caught AssertionError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "loading.py", line 9, in transform\n    assert img is not None\n'
        "AssertionError: failed to load image: a.jpg\n"
    )
    with pytest.raises(BadInputError) as caught, explained(Config()):
        raise AssertionError(said)
    assert str(caught.value).startswith("picture a.jpg cannot be decoded; fetch it again")


class Samples(torch.utils.data.Dataset):
    """One sample, through a transform of mmcv."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.transform(dict(img=np.zeros((8, 9, 3), np.uint8), img_path="a.jpg"))


def load_sample(transform, num_workers):
    loader = DataLoader(Samples(transform), num_workers=num_workers, collate_fn=list)
    with pytest.raises(BadInputError) as caught, explained(Config()):
        list(place_samples(loader, seed=0, rank=0))
    return str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_step_that_breaks_is_named_with_the_value_to_write_in_whatever_process(num_workers):
    said = load_sample(Resize(scale=[16, 12], keep_ratio=True), num_workers)
    assert said.startswith("the transform Resize cannot use a value of the pipeline (TypeError: Scale must be")
    assert "write the tuple scale=(16, 12)" in said
    said = load_sample(Resize(scale=(16, 12), keep_ratio=True, interpolation="none"), num_workers)
    assert said.startswith("picture a.jpg and its annotations break the transform Resize (KeyError: 'none'")


def test_a_list_that_a_step_names_is_told_as_the_tuple_to_write():
    said = r"NotImplementedError: .*write the tuple scale=\(8, 9\)"
    with pytest.raises(BadInputError, match=said), explained(Config()):
        RandomResize(scale=[8, 9], ratio_range=(0.5, 2.0))(dict(img_path="a.jpg"))


def test_a_mute_assertion_is_told_by_its_line():
    def transform(self, results):
        imflip(np.zeros((8, 9, 3)), "sideways")

    said = r"a.jpg and its annotations break the transform Config \(AssertionError: assert direction in \['horizontal'"
    with pytest.raises(BadInputError, match=said), explained(Config()):
        transform(Config(), dict(img_path="a.jpg"))
