"""COCO and ADE20K are unpacked into the layout that the configs read, whole or not at all."""

import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from effvit_mm.data_tool.benchmarks import benchmark
from effvit_mm.data_tool.whole_folder import made_whole
from effvit_mm.data_tool.zipped import unpack_benchmark
from effvit_mm.errors import BadInputError, NotSavedError

COCO = {
    "train2017.zip": ("train2017/000000000009.jpg", "train2017/000000000025.jpg", "__MACOSX/train2017/._9.jpg"),
    "val2017.zip": ("val2017/000000000139.jpg",),
    "annotations_trainval2017.zip": (
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
        "annotations/captions_val2017.json",
    ),
}
ADE = tuple(
    f"ADEChallengeData2016/{kind}/{folder}/ADE_{split}_0000000{number}.{suffix}"
    for kind, suffix in (("images", "jpg"), ("annotations", "png"))
    for folder, split, numbers in (("training", "train", (1, 2)), ("validation", "val", (1,)))
    for number in numbers
)


def write_zip(file, names):
    """Write an archive whose files hold their own names; folders are members too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in names if name.startswith("train2017/")}):
            archive.writestr(f"{folder}/", b"")
        for name in names:
            archive.writestr(name, name * 50)


@pytest.fixture
def downloads(tmp_path):
    folder = tmp_path / "downloads"
    for name, names in COCO.items():
        write_zip(folder / "coco" / name, names)
    write_zip(folder / "ADEChallengeData2016.zip", (*ADE, "ADEChallengeData2016/objectInfo150.txt"))
    return folder


def content_of(root):
    return {str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()}


def test_coco_is_unpacked_as_the_configs_read_it(downloads, tmp_path):
    root = unpack_benchmark("coco", downloads, tmp_path / "new/coco")
    wanted = [name for names in COCO.values() for name in names if "MACOSX" not in name and "captions" not in name]
    assert content_of(root) == {name: name * 50 for name in wanted}
    for part in benchmark("coco", root)[0].parts:
        assert (root / part.spec["ann_file"]).is_file()
        assert (root / part.spec["data_prefix"]["img"]).is_dir()


def test_ade20k_is_unpacked_without_the_folder_around_it(downloads, tmp_path):
    root = unpack_benchmark("ade20k", downloads, tmp_path / "ADEChallengeData2016")
    assert content_of(root) == {name.partition("/")[2]: name * 50 for name in ADE}


def test_one_split_alone_needs_its_own_archives_and_is_added_to_the_other(downloads, tmp_path):
    train = (downloads / "coco/train2017.zip").rename(tmp_path / "train2017.zip")
    root = unpack_benchmark("coco", downloads, tmp_path / "coco", only="val")
    assert sorted(content_of(root)) == ["annotations/instances_val2017.json", "val2017/000000000139.jpg"]
    train.rename(downloads / "train2017.zip")
    unpack_benchmark("coco", downloads, root, only="train")
    assert len(content_of(root)) == 5
    with pytest.raises(BadInputError, match="coco/train2017 exists already and is not changed"):
        unpack_benchmark("coco", downloads, root, only="train")


def test_a_folder_with_something_in_it_is_left_as_it_is(downloads, tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="exists already"):
        unpack_benchmark("coco", downloads, tmp_path / "coco")
    assert content_of(tmp_path / "coco") == {"mine.txt": "mine"}


def test_missing_archives_are_named_with_their_addresses(downloads, tmp_path):
    for name in ("val2017.zip", "annotations_trainval2017.zip"):
        (downloads / "coco" / name).unlink()
    with pytest.raises(BadInputError) as caught:
        unpack_benchmark("coco", downloads, tmp_path / "coco")
    message = str(caught.value)
    assert message.startswith("2 of the 3 archives needed are not in --source")
    assert "http://images.cocodataset.org/zips/val2017.zip" in message
    assert "http://images.cocodataset.org/annotations/annotations_trainval2017.zip" in message
    assert "zips/train2017.zip" not in message


def test_the_one_archive_of_a_benchmark_is_not_counted(tmp_path):
    with pytest.raises(BadInputError, match=r"^the archive needed is not in --source"):
        unpack_benchmark("ade20k", tmp_path, tmp_path / "ade")


def test_a_source_that_is_none_is_said(tmp_path):
    with pytest.raises(BadInputError, match=r"--source .*nowhere is no folder"):
        unpack_benchmark("coco", tmp_path / "nowhere", tmp_path / "coco")


def cut(file):
    file.write_bytes(file.read_bytes()[:-30])


def damage_a_member(file):
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("train2017/000000000025.jpg").header_offset
    content[start + 60] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "train2017.zip cannot be read.*fetch it again"),
        (damage_a_member, "train2017.zip cannot be read.*fetch it again"),
        (lambda file: write_zip(file, ("val2017/000000000139.jpg",)), r"holds no train2017/\*.jpg.*zips/train2017.zip"),
        (lambda file: write_zip(file, ("train2017/1.jpg", "../evil.jpg")), r"holds '\.\./evil.jpg'.*inside the folder"),
        (lambda file: write_zip(file, ("train2017/1.jpg", "train2017/../../evil.jpg")), "inside the folder"),
        (lambda file: write_zip(file, ("train2017/1.jpg", "/tmp/evil.jpg")), "holds '/tmp/evil.jpg'"),
        (lambda file: write_zip(file, ("train2017/1.jpg", "train2017/..\\..\\evil.jpg")), "inside the folder"),
        (lambda file: write_zip(file, ("train2017/1.jpg", "C:\\evil.jpg")), "inside the folder"),
    ],
    ids=["cut", "damaged", "other", "above", "hidden above", "absolute", "backslashes", "drive"],
)
def test_torn_and_hostile_archives_are_refused_and_nothing_is_left(downloads, tmp_path, damage, message):
    damage(downloads / "coco/train2017.zip")
    with pytest.raises(BadInputError, match=message):
        unpack_benchmark("coco", downloads, tmp_path / "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


def test_more_than_the_disk_has_room_for_is_refused_before_anything_is_written(downloads, tmp_path, monkeypatch):
    needed = sum(len(name) * 50 for name in ADE)
    Usage = namedtuple("Usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed - 1))
    with pytest.raises(BadInputError, match=r"--root .* needs 0.0 GiB and its disk has 0.0 GiB free"):
        unpack_benchmark("ade20k", downloads, tmp_path / "new/ade")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed))
    assert len(content_of(unpack_benchmark("ade20k", downloads, tmp_path / "new/ade"))) == len(ADE)


def test_a_link_to_a_folder_on_another_disk_is_followed(downloads, tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "coco").symlink_to(tmp_path / "big")
    unpack_benchmark("coco", downloads, tmp_path / "coco")
    assert (tmp_path / "coco").is_symlink()
    assert len(content_of(tmp_path / "big")) == 5


def fill(root):
    with made_whole(root, ("pictures", "list.txt")) as made:
        (made / "pictures").mkdir()
        (made / "list.txt").write_text("1.jpg")


def test_of_parts_that_cannot_all_be_moved_none_is(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    (root / "mine.txt").write_text("mine")
    rename = Path.rename

    def fail_at_the_list(self, target):
        if Path(target) == root / "list.txt":
            raise OSError("no room")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_at_the_list)
    with pytest.raises(NotSavedError, match="no room"):
        fill(root)
    assert content_of(root) == {"mine.txt": "mine"}
    assert [path.name for path in root.iterdir()] == ["mine.txt"]
