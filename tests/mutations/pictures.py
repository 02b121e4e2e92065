"""Pictures: torn, changed, exchanged, of another kind, or not pictures at all."""

import json
import os

import numpy as np
from PIL import Image

from mutations import mutation


def chosen(case):
    """A picture that the tool reads."""
    folder = case.data / f"{case.split()}2017"
    file = case.rng.choice(sorted(folder.glob("*.jpg")))
    case.names.append(file.name)
    return file


def entry_of(case, file, **changes):
    """Change the entry of a picture in its annotation file."""
    annotations = case.annotation_file(file.parent.name[:-4])
    content = json.loads(annotations.read_text())
    (entry,) = (entry for entry in content["images"] if entry["file_name"] == file.name)
    entry.update(changes)
    if "width" in changes:
        # Masks are of the size of their picture.
        width, height = entry["width"], entry["height"]
        for annotation in content["annotations"]:
            if annotation["image_id"] == entry["id"]:
                annotation["segmentation"] = [[0, 0, width, 0, width, height, 0, height]]
    annotations.write_text(json.dumps(content))


def redraw(case, size=None, mode=None, form="JPEG", **options):
    """Write a picture again, in another size, mode or format; returns its file."""
    file = chosen(case)
    picture = Image.open(file)
    picture = picture.resize(size) if size else picture
    (picture.convert(mode) if mode else picture).save(file, form, **options)
    return file


def flip_bytes(case, file, count, start=0, stop=None):
    """Change random bits of random bytes."""
    content = bytearray(file.read_bytes())
    stop = min(len(content), stop or len(content))
    for _ in range(count):
        content[case.rng.randrange(start, stop)] ^= 1 << case.rng.randrange(8)
    file.write_bytes(content)


@mutation("pictures", "refuse")
def picture_truncated(case):
    file = chosen(case)
    content = file.read_bytes()
    file.write_bytes(content[: case.rng.randrange(len(content) - 2)])


@mutation("pictures", "refuse")
def picture_empty(case):
    chosen(case).write_bytes(b"")


@mutation("pictures", "refuse")
def picture_all_zero(case):
    file = chosen(case)
    file.write_bytes(bytes(file.stat().st_size))


@mutation("pictures")
def picture_run_of_zeros(case):
    file = chosen(case)
    content = bytearray(file.read_bytes())
    start = case.rng.randrange(len(content))
    length = case.rng.randrange(1, 400)
    content[start : start + length] = bytes(len(content[start : start + length]))
    file.write_bytes(content)


@mutation("pictures")
def picture_bytes_flipped(case):
    flip_bytes(case, chosen(case), case.rng.choice((1, 3, 30)))


@mutation("pictures")
def picture_header_flipped(case):
    flip_bytes(case, chosen(case), case.rng.choice((1, 2, 4)), stop=700)


@mutation("pictures", "refuse")
def picture_without_its_first_bytes(case):
    file = chosen(case)
    file.write_bytes(b"XX" + file.read_bytes()[2:])


@mutation("pictures", "refuse")
def picture_is_text(case):
    chosen(case).write_text("<html>404 not found</html>\n" * case.rng.randrange(1, 30))


@mutation("pictures", "refuse")
def picture_is_a_page_with_a_pictures_end(case):
    chosen(case).write_bytes(b"<html>404 not found</html>" * 20 + b"\xff\xd9")


@mutation("pictures", "refuse")
def picture_missing(case):
    chosen(case).unlink()


@mutation("pictures", "refuse")
def picture_is_a_folder(case):
    file = chosen(case)
    file.unlink()
    file.mkdir()


@mutation("pictures", "refuse")
def picture_is_a_link_to_itself(case):
    file = chosen(case)
    file.unlink()
    file.symlink_to(file)


@mutation("pictures", "refuse")
def picture_is_a_pipe(case):
    file = chosen(case)
    file.unlink()
    os.mkfifo(file)


@mutation("pictures")
def picture_unreadable(case):
    # Nothing is unreadable for root, where this case is one that works.
    chosen(case).chmod(0)


@mutation("pictures", "refuse")
def picture_of_another_size(case):
    redraw(case, size=case.rng.choice(((1, 1), (20, 20), (64, 96), (96, 65), (300, 200))))


@mutation("pictures")
def picture_tiny_and_said_so(case):
    size = case.rng.choice(((1, 1), (20, 20), (96, 3), (33, 1)))
    file = redraw(case, size=size)
    entry_of(case, file, width=size[0], height=size[1])


@mutation("pictures")
def picture_very_long_and_said_so(case):
    size = case.rng.choice(((2, 6000), (6000, 2), (1, 20000)))
    file = redraw(case, size=size)
    entry_of(case, file, width=size[0], height=size[1])


@mutation("pictures", "work")
def picture_grey(case):
    redraw(case, mode="L")


@mutation("pictures", "work")
def picture_cmyk(case):
    redraw(case, mode="CMYK")


@mutation("pictures", "work")
def picture_of_another_format_than_its_name_says(case):
    redraw(case, mode=case.rng.choice(("RGB", "RGBA", "P", "L", "1", "LA")), form="PNG")


@mutation("pictures", "work")
def picture_renamed_in_another_format(case):
    form, suffix = case.rng.choice((("PNG", ".png"), ("BMP", ".bmp"), ("WEBP", ".webp"), ("TIFF", ".tif")))
    file = redraw(case, form=form)
    entry_of(case, file, file_name=file.with_suffix(suffix).name)
    file.rename(file.with_suffix(suffix))


@mutation("pictures")
def picture_png_flipped(case):
    file = redraw(case, form="PNG")
    flip_bytes(case, file, case.rng.choice((1, 5)), stop=file.stat().st_size - 20)
    entry_of(case, file, file_name=file.with_suffix(".png").name)
    file.rename(file.with_suffix(".png"))
    case.names = [file.stem]


@mutation("pictures", "work")
def picture_16_bit(case):
    file = chosen(case)
    grey = np.asarray(Image.open(file).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(file, "PNG")


@mutation("pictures", "work")
def picture_turned_by_its_camera(case):
    # Stored lying, shown standing: its size is the shown one, as every labelling tool writes it.
    file = chosen(case)
    picture = Image.open(file)
    width, height = picture.size
    exif = Image.Exif()
    exif[274] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", exif=exif)
    entry_of(case, file, width=width, height=height)


@mutation("pictures", "refuse")
def pictures_folder_missing(case):
    folder = case.data / f"{case.split()}2017"
    folder.rename(folder.with_name("elsewhere"))
    case.names.append(folder.name)


@mutation("pictures", "refuse")
def pictures_folder_is_a_file(case):
    folder = case.data / f"{case.split()}2017"
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("not a folder")
    case.names.append(folder.name)
