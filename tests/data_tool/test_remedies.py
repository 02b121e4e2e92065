"""What is said of a data set that cannot be used leads to one that can."""

import cv2
import numpy as np
import pytest
from cases import ROOT

from effvit_mm.data_tool.check import check_data_set
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.targets import find_targets
from effvit_mm.depth import write_depth


def look(what, root=None, kind=None):
    (target,) = find_targets(str(what), root, kind)
    return check_data_set(target, Opening(), None)


def depth_config(root, scale):
    file = root / "depth_warehouse.py"
    file.write_text(f"""
_base_ = "{ROOT}/configs/nyu/depth_anchorformer.py"
prefix = dict(img_path="images", depth_map_path="depth")
data = dict(_delete_=True, type="DepthFolderDataset", data_root="{root}", data_prefix=prefix, depth_scale={scale})
data.update(pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadDepth")])
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
""")
    return file


def write_pairs(root, num_bad):
    """Write six pairs, of which some have depth of 8 bits."""
    for folder in ("images", "depth"):
        (root / folder).mkdir()
    for number in range(6):
        cv2.imwrite(str(root / f"images/{number}.jpg"), np.zeros((6, 8, 3), np.uint8))
        write_depth(root / f"depth/{number}.png", np.full((6, 8), 2.5), 256.0)
        if number < num_bad:
            cv2.imwrite(str(root / f"depth/{number}.png"), np.ones((6, 8), np.uint8))


def test_depth_of_8_bits_is_answered_once_and_in_the_unit_of_the_data_set(tmp_path):
    write_pairs(tmp_path, num_bad=4)
    for part in look(depth_config(tmp_path, scale=256.0)).findings:
        assert [problem.text for problem in part.problems] == [
            "has 8 bits and 1 channel, expected 16 bits and one channel"
        ] * 4
        (remedy,) = part.remedies
        assert "np.rint(metres * 256)" in remedy


def test_depth_of_8_bits_in_a_bare_folder_is_answered_in_millimetres(tmp_path):
    write_pairs(tmp_path, num_bad=4)
    (part,) = look(tmp_path, kind="depth").findings
    (remedy,) = part.remedies
    assert "depth_scale=1000" in remedy
    assert "np.rint(metres * 1000)" in remedy


def test_whole_depth_needs_no_remedy(tmp_path):
    write_pairs(tmp_path, num_bad=0)
    assert look(tmp_path, kind="depth").findings[0].remedies == []


def test_missing_folders_of_own_depth_are_answered_with_where_they_belong(tmp_path):
    report = look(depth_config(tmp_path, scale=256.0))
    assert "in the two folders that data_prefix names" in report.layout
    assert "--root DIR" in report.layout
    assert "--data-root" not in report.layout
    assert "NYU" not in report.layout


@pytest.mark.parametrize("what", ["coco", "ade20k", "nyu", "imagenet"])
def test_a_missing_benchmark_is_answered_with_the_option_of_this_tool(tmp_path, what):
    layout = look(what, tmp_path).layout
    assert "--root DIR" in layout
    assert "--data-root" not in layout


def test_the_command_that_prepares_imagenet_names_the_classes(tmp_path):
    command = next(line for line in look("imagenet", tmp_path).layout.splitlines() if "prepare imagenet" in line)
    assert " --synsets LOC_val_solution.csv " in command
