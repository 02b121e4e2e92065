"""A value of the command line arrives as it was typed, and as the type that the config has there."""

from argparse import ArgumentParser

import pytest
from mmengine.config import Config, DictAction

from effvit_mm.config_file import read_config
from effvit_mm.config_options import ConfigOptions, set_options
from effvit_mm.errors import BadInputError


def read(text, action=ConfigOptions):
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=action)
    return parser.parse_args(["--cfg-options", f"key={text}"]).cfg_options["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/my data/coco", "/my data/coco"),
        (" /my data/coco ", "/my data/coco"),
        ("'/my data/a,b (1)'", "/my data/a,b (1)"),
        ("/a b/c, d e", ["/a b/c", "d e"]),
        ("[/a b/c, 'd, e']", ["/a b/c", "d, e"]),
        ("('a (b', 2)", ("a (b", 2)),
        ("it's", "it's"),
    ],
)
def test_text_keeps_its_spaces_and_quoted_text_its_commas(text, value):
    assert ConfigOptions._parse_iterable(text) == value


@pytest.mark.parametrize(
    "text",
    ["3", " 3 ", "1e-4", "None", "true", "", "'3'", "1,2", "( 1 , 2 )", "[(1, 2, 3), [a, b], c]", "'[1, 2]'", "[]"],
)
def test_what_has_no_space_within_is_read_as_mmengine_reads_it(text):
    read, expected = ConfigOptions._parse_iterable(text), DictAction._parse_iterable(text)
    assert (read, type(read)) == (expected, type(expected))


def test_a_list_that_takes_the_place_of_a_tuple_becomes_one():
    cfg = Config(dict(model=dict(pipeline=[dict(scale=(2, 4), scales=[(1, 2), (3, 4)], names=["a"])])))
    options = {"scale": [160, 120], "scales": [[5, 6], [7, 8], [9, 0]], "names": ["b", "c"], "new": [1, 2]}
    set_options(cfg, {f"model.pipeline.0.{name}": value for name, value in options.items()})
    assert cfg.model.pipeline[0] == dict(
        scale=(160, 120), scales=[(5, 6), (7, 8), (9, 0)], names=["b", "c"], new=[1, 2]
    )


@pytest.mark.parametrize("marked", ["own.py", "base.py"])
def test_a_byte_order_mark_is_named(tmp_path, marked):
    (tmp_path / "base.py").write_text("model = dict(type='MaskRCNN')\n")
    (tmp_path / "own.py").write_text("_base_ = ['base.py']\n")
    assert read_config(tmp_path / "own.py").model.type == "MaskRCNN"
    text = (tmp_path / marked).read_text()
    (tmp_path / marked).write_text(text, encoding="utf-8-sig")
    with pytest.raises(BadInputError, match=r"own.py, or a base of it, begins with a byte order mark.*without BOM"):
        read_config(tmp_path / "own.py")
