"""Data sets checked and prepared as a user does it."""

import json
import shutil

from effvit_mm.datasets.toy_export import ensure_toy_scenes

# An object of every class is among the crops of each split.
SCENES = "--num-train 10 --num-val 8"


def test_rendered_scenes_are_whole_in_every_layout_and_damage_ends_with_status_1(workplace):
    out = workplace.succeeds(f"python tools/data.py prepare toy --root data/toy_scenes {SCENES}")
    assert "data/toy_scenes" in out
    report = json.loads(workplace.succeeds("python tools/data.py check toy --json"))
    assert report["ok"]
    assert [entry["name"] for entry in report["sets"]] == ["toy_coco", "toy_ade20k", "toy_nyu", "toy_imagenet"]
    assert len(list((workplace.folder / "work_dirs/data").glob("toy_*.png"))) == 4
    (workplace.folder / "data/toy_scenes/ade20k/annotations/training/scene_00002.png").write_bytes(b"")
    done = workplace.run("python tools/data.py check data/toy_scenes/ade20k --format masks --sample 9")
    assert done.returncode == 1
    assert "scene_00002.png  is torn or no picture" in done.stdout
    assert "Traceback" not in done.stderr


def test_archives_are_unpacked_and_what_is_missing_is_told(workplace):
    made = ensure_toy_scenes(workplace.folder / "made", num_train=4, num_val=2) / "coco"
    downloads = workplace.folder / "downloads"
    downloads.mkdir()
    for name, folder in (("val2017", "val2017"), ("annotations_trainval2017", "annotations")):
        shutil.make_archive(str(downloads / name), "zip", made, folder)
    command = "python tools/data.py prepare coco --source downloads --root data/unpacked"
    done = workplace.run(command)
    assert done.returncode == 1
    assert done.stderr.startswith("error: 1 of the 3 archives needed is not in --source downloads:\n  train2017.zip")
    assert not (workplace.folder / "data/unpacked").exists()
    out = workplace.succeeds(f"{command} --only val")
    assert "python tools/data.py check coco --root data/unpacked" in out
    for name in ("val2017", "annotations"):
        assert {file.name for file in (workplace.folder / "data/unpacked" / name).iterdir()} == {
            file.name for file in (made / name).iterdir() if "train" not in file.name
        }


def test_missing_data_is_answered_with_the_layout(workplace):
    done = workplace.run("python tools/data.py check coco --root nowhere")
    assert done.returncode == 1
    for text in ("MISSING", "Expected under nowhere/:", "cocodataset.org", "2 files missing, 2 folders", "--root DIR"):
        assert text in done.stdout
    assert not (workplace.folder / "work_dirs/data/coco.png").exists()


def test_a_wrong_name_is_answered_in_one_line(workplace):
    done = workplace.run("python tools/data.py check coc")
    assert done.returncode == 1
    assert done.stderr == "error: coc is no data set by name and no config; did you mean 'coco'?\n"
