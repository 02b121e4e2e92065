"""A contact sheet: pictures with their annotations side by side, and what the colours mean."""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from effvit_mm.checkpoint import written_whole
from effvit_mm.data_tool.findings import Cell
from effvit_mm.engine.segmentation_drawing import FONT, MARGIN, TEXT_SIZE, draw_legend

SIDE = 420  # of a picture, pixels; those much wider than high get the room of two
WIDE = 1.7
NUM_COLUMNS = 4


def write_sheet(cells: Sequence[Cell], file: Path) -> None:
    """Write a contact sheet as PNG.

    Args:
        cells: What it shows, row by row.
        file: Where; its folder is made, a sheet that is there is replaced.

    Raises:
        NotSavedError: If it cannot be written.
    """
    wide = sum(cell.picture.width > WIDE * cell.picture.height for cell in cells) > len(cells) / 2
    num_columns = min(len(cells), NUM_COLUMNS // 2 if wide else NUM_COLUMNS)
    room = (2 * SIDE if wide else SIDE, SIDE)
    pictures = [_fit(cell.picture, room) for cell in cells]
    rows = [range(start, min(start + num_columns, len(cells))) for start in range(0, len(cells), num_columns)]
    line = TEXT_SIZE + MARGIN
    width = num_columns * (room[0] + MARGIN) + MARGIN
    heights = [line + max(pictures[place].height for place in row) + MARGIN for row in rows]
    legend = {name: colour for cell in cells for name, colour in cell.legend}
    below = draw_legend(sorted(legend.items(), key=_counted), width) if legend else None
    sheet = Image.new("RGB", (width, sum(heights) + (below.height if below else 0)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(str(FONT), TEXT_SIZE)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, place in enumerate(row):
            left = MARGIN + column * (room[0] + MARGIN)
            draw.text((left, top + line // 2), _shorten(cells[place].title, font), fill="black", font=font, anchor="lm")
            sheet.paste(pictures[place], (left, top + line))
        top += height
    if below:
        sheet.paste(below, (0, top))
    with written_whole(file, remedy="{first}, or give another --sheet", shared=True) as partial:
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(partial, "PNG")


def _counted(entry: tuple[str, tuple[int, ...]]) -> str:
    """Return what to sort by, so that 10 comes after 9."""
    return re.sub(r"\d+", lambda number: number[0].zfill(9), entry[0])


def _fit(picture: Image.Image, room: tuple[int, int]) -> Image.Image:
    """Bring a picture to the room there is, small ones enlarged."""
    factor = min(room[0] / picture.width, room[1] / picture.height)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST)


def _shorten(title: str, font: ImageFont.FreeTypeFont) -> str:
    """Return a title that fits, without what is in its middle if need be."""
    kept = len(title)
    short = title
    while font.getlength(short) > SIDE and kept > 8:
        kept -= 2
        short = f"{title[: kept // 2]}...{title[-(kept // 2) :]}"
    return short
