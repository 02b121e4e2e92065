"""Annotation files: cut off, of another kind, with wrong values, and what is odd but legal."""

import json

from mutations import mutation, paths_of, put, take

ODD_VALUES = [None, "7", "seven", True, [], {}, -1, 0, 1.5, float("nan"), float("inf"), -1e308, 10**30, [[1]]]


def rewrite(case, change):
    """Change the bytes of an annotation file that is read."""
    file = case.annotation_file(case.split())
    file.write_bytes(change(file.read_bytes()))
    case.names.append(file.name)


def one(case, content, key="annotations"):
    return case.rng.choice(content[key])


def set_in_one(case, key, field, value):
    def change(content):
        one(case, content, key)[field] = value

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def json_truncated(case):
    rewrite(case, lambda content: content[: case.rng.randrange(len(content) - 2)])


@mutation("annotations", "refuse")
def json_in_another_encoding(case):
    encoding = case.rng.choice(("utf-16", "utf-32", "utf-8-sig"))
    rewrite(case, lambda content: content.decode().encode(encoding))


@mutation("annotations", "refuse")
def json_with_a_latin_name(case):
    rewrite(case, lambda content: content.replace(b'"categories"', b'"caf\xe9": 1, "categories"', 1))


@mutation("annotations")
def json_byte_flipped(case):
    def flip(content):
        content = bytearray(content)
        for _ in range(case.rng.choice((1, 1, 4))):
            content[case.rng.randrange(len(content))] ^= 1 << case.rng.randrange(8)
        return bytes(content)

    rewrite(case, flip)


@mutation("annotations", "refuse")
def json_nested_without_end(case):
    rewrite(case, lambda _: b"[" * 200_000)


@mutation("annotations", "refuse")
def json_of_another_kind(case):
    other = case.rng.choice(([], [{"bbox": [1, 2, 3, 4]}], {}, None, 3, "text", {"images": {}, "annotations": {}}))
    rewrite(case, lambda _: json.dumps(other).encode())


@mutation("annotations", "refuse")
def json_is_a_zip(case):
    rewrite(case, lambda _: b"PK\x03\x04" + bytes(300))


@mutation("annotations", "refuse")
def annotation_file_is_a_folder(case):
    file = case.annotation_file(case.split())
    file.unlink()
    file.mkdir()
    case.names.append(file.name)


@mutation("annotations")
def json_key_deleted(case):
    def change(content):
        path, _ = case.rng.choice([(path, value) for path, value in paths_of(content) if not path[-1].isdigit()])
        take(content, path)

    case.edit_annotations(change)


@mutation("annotations")
def json_value_replaced(case):
    def change(content):
        paths = [path for path, _ in paths_of(content)]
        # Long lists of numbers would otherwise be all that is ever hit.
        paths = [path for path in paths if path.count(".") < 3 or case.rng.random() < 0.1]
        put(content, case.rng.choice(paths), case.rng.choice(ODD_VALUES))

    case.edit_annotations(change)


@mutation("annotations")
def entry_replaced(case):
    key = case.rng.choice(("images", "annotations", "categories"))

    def change(content):
        content[key][case.rng.randrange(len(content[key]))] = case.rng.choice(ODD_VALUES)

    case.edit_annotations(change)


@mutation("annotations")
def box_with_an_odd_number(case):
    def change(content):
        one(case, content)["bbox"][case.rng.randrange(4)] = case.rng.choice(ODD_VALUES)

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def box_of_another_length(case):
    set_in_one(case, "annotations", "bbox", case.rng.choice(([], [1, 2, 3], [1, 2, 3, 4, 5], {}, "1 2 3 4", None)))


@mutation("annotations")
def box_huge(case):
    set_in_one(case, "annotations", "bbox", [0, 0, case.rng.choice((1e5, 1e9, 1e300)), 10])


@mutation("annotations", "work")
def box_without_area(case):
    set_in_one(case, "annotations", "bbox", case.rng.choice(([5, 5, 0, 0], [5, 5, 0, 10], [5, 5, 10, 0.3])))


@mutation("annotations", "work")
def box_outside_the_picture(case):
    set_in_one(case, "annotations", "bbox", case.rng.choice(([500, 500, 10, 10], [-40, -40, 10, 10], [90, 60, 9, 9])))


@mutation("annotations", "work")
def box_slightly_outside(case):
    set_in_one(case, "annotations", "bbox", [-1.3, -0.5, 40.25, 40])


@mutation("annotations", "refuse")
def all_boxes_without_area(case):
    case.tool = "train"
    file = case.annotation_file("train")
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        annotation["bbox"][2] = 0
    file.write_text(json.dumps(content))
    case.names.append(file.name)


@mutation("annotations", "work")
def category_that_does_not_exist(case):
    set_in_one(case, "annotations", "category_id", case.rng.choice((0, 99, -1)))


@mutation("annotations", "work")
def image_that_does_not_exist(case):
    def change(content):
        content["annotations"].append({**one(case, content), "id": 10**6, "image_id": 10**6})

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def all_images_do_not_exist(case):
    def change(content):
        for annotation in content["annotations"]:
            annotation["image_id"] += 1000

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def ids_are_text(case):
    def change(content):
        for annotation in content["annotations"]:
            annotation["image_id"] = str(annotation["image_id"])

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def ids_twice(case):
    key = case.rng.choice(("images", "annotations", "categories"))

    def change(content):
        content[key][1]["id"] = content[key][0]["id"]

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def list_emptied(case):
    key = case.rng.choice(("images", "annotations", "categories"))
    case.edit_annotations(lambda content: content.update({key: []}))


@mutation("annotations", "work")
def image_without_annotations(case):
    def change(content):
        first = content["images"][0]["id"]
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != first]

    case.edit_annotations(change)


def segmentation_of(case, make):
    def change(content):
        annotation = one(case, content)
        annotation["segmentation"] = make(annotation["segmentation"])

    case.edit_annotations(change)


@mutation("annotations")
def polygon_malformed(case):
    forms = [
        [[1, 2, 3]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[]],
        [1, 2, 3, 4, 5, 6],
        [["a"] * 6],
        [[None] * 6],
        [[float("nan")] * 6],
        [[0, 0, 1e12, 0, 1e12, 1e12]],
        "polygon",
        7,
        [{"x": 1}],
    ]
    form = case.rng.choice(forms)
    segmentation_of(case, lambda _: form)


@mutation("annotations", "work")
def polygon_slightly_outside(case):
    segmentation_of(case, lambda _: [[-3.5, -2, 40, -2, 40.5, 70, -3.5, 70], [50, 50, 99, 50, 99, 60.5]])


@mutation("annotations", "refuse")
def rle_of_another_size(case):
    segmentation_of(case, lambda rle: {**rle, "size": case.rng.choice(([96, 64], [10, 10], [65, 96]))})


@mutation("annotations")
def rle_malformed(case):
    forms = [
        {"size": [64, 96]},
        {"counts": "abc"},
        {"size": [64, 96], "counts": None},
        {"size": [64, 96], "counts": "~~~~~\x7f"},
        {"size": [64, 96], "counts": ""},
        {"size": [64, 96], "counts": "XXXXXXXXXXXXXXXXX"},
        {"size": [64, 96], "counts": "oooooooooooo0"},
        {"size": [64, 96], "counts": [10, 20]},
        {"size": [64, 96], "counts": [0, 10**9]},
        {"size": [64, 96], "counts": [-5, 64 * 96 + 5]},
        {"size": [64, 96], "counts": ["a"]},
        {"size": "64x96", "counts": [64 * 96]},
        {"size": [64], "counts": [64 * 96]},
    ]
    form = case.rng.choice(forms)
    segmentation_of(case, lambda _: form)


@mutation("annotations")
def rle_letters_changed(case):
    def change(rle):
        counts = list(rle["counts"])
        for _ in range(case.rng.choice((1, 3))):
            counts[case.rng.randrange(len(counts))] = chr(case.rng.randrange(33, 127))
        return {**rle, "counts": "".join(counts)}

    segmentation_of(case, change)


@mutation("annotations", "refuse")
def segmentation_missing(case):
    def change(content):
        annotation = one(case, content)
        if case.rng.random() < 0.5:
            del annotation["segmentation"]
        else:
            annotation["segmentation"] = case.rng.choice((None, [], {}))

    case.edit_annotations(change)


@mutation("annotations", "work")
def crowd_as_run_lengths(case):
    def change(content):
        one(case, content).update(iscrowd=1, segmentation={"size": [64, 96], "counts": [100, 500, 64 * 96 - 600]})

    case.edit_annotations(change)


@mutation("annotations")
def crowd_flag_odd(case):
    set_in_one(case, "annotations", "iscrowd", case.rng.choice((None, "0", 2, "yes", [])))


@mutation("annotations", "work")
def keys_beyond_cocos(case):
    def change(content):
        content["info"] = None
        content["extra"] = {"a": [1]}
        one(case, content).update(score=0.5, attributes={"occluded": True}, area=33.25)
        one(case, content, "images").update(license=None, date_captured=7, coco_url="")
        one(case, content, "categories").pop("supercategory", None)

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def size_that_lies(case):
    field, value = case.rng.choice((("height", 640), ("width", 9), ("height", 0), ("width", -96), ("height", "64")))
    set_in_one(case, "images", field, value)


@mutation("annotations", "refuse")
def file_name_odd(case):
    names = ("../../../etc/passwd", "/etc/passwd", None, "", 7, ".", "nowhere/1.jpg", "a\0b.jpg", "x" * 5000)
    set_in_one(case, "images", "file_name", case.rng.choice(names))


@mutation("annotations", "work")
def file_name_through_other_folders(case):
    def change(content):
        entry = content["images"][0]
        folder = next(path for path in case.data.iterdir() if (path / entry["file_name"]).is_file())
        odd = case.rng.choice((f"../{folder.name}/{entry['file_name']}", str(folder / entry["file_name"])))
        entry["file_name"] = odd

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def category_names_twice(case):
    def change(content):
        content["categories"].append({**content["categories"][0], "id": 99})

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def category_missing(case):
    def change(content):
        content["categories"].pop(case.rng.randrange(3))

    case.edit_annotations(change)


@mutation("annotations", "refuse")
def category_names_odd(case):
    set_in_one(case, "categories", "name", case.rng.choice((None, 7, ["box"], "Box", "")))


@mutation("annotations", "refuse")
def evaluators_file_is_another_splits(case):
    split = "val" if case.tool == "train" else "test"
    evaluator = case.config[f"{split}_evaluator"]
    evaluator["ann_file"] = evaluator["ann_file"].replace("val2017", "train2017")
    case.names.append("ann_file")
