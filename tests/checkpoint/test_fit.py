"""Weights are loaded whole, or refused by the names that do not fit."""

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from effvit_mm.checkpoint import check_some_fit, load_whole, read_weights
from effvit_mm.errors import BadInputError


def test_weights_are_loaded_whole_or_refused_by_name(tmp_path):
    model = nn.Sequential(OrderedDict(stem=nn.Linear(3, 5), head=nn.Linear(5, 2)))
    file = tmp_path / "a.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}}, file)
    weights = read_weights(file)
    load_whole(model, weights, file)
    other = nn.Sequential(OrderedDict(stem=nn.Linear(3, 4), tail=nn.Linear(5, 2)))
    with pytest.raises(BadInputError) as caught:
        load_whole(other, weights, file)
    for part in (
        "a.pth",
        "stem.weight",
        "(5, 3)",
        "(4, 3)",
        "tail.weight",
        "head.weight",
        "config it was trained with",
    ):
        assert part in str(caught.value).replace("torch.Size([5, 3])", "(5, 3)").replace("torch.Size([4, 3])", "(4, 3)")
    check_some_fit(nn.Sequential(OrderedDict(stem=nn.Linear(3, 5))), weights, file)
    with pytest.raises(BadInputError, match="none of its 4 weights"):
        check_some_fit(nn.Sequential(OrderedDict(other=nn.Linear(3, 5))), weights, file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"weight": torch.tensor([1.0, math.nan])}}, "not numbers .nan., such as weight"),
        ({"state_dict": [1]}, "holds no weights"),
        ({"meta": {"epoch": 1}}, "holds no weights"),
    ],
)
def test_a_checkpoint_without_usable_weights_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(BadInputError, match=message):
        read_weights(tmp_path / "a.pth")
