"""Contact sheets of samples as SVG, and single samples as PNG, with the standard library alone."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from tunefleet.protocol.looks import Disagreement, Example, LabelIssue, LabelLook, StudyLook, TrialLook
from tunefleet.protocol.predictions import Picture

TILE, GAP, LINE = 96, 12, 14  # pixels: the side of a sample, the gap between two, and a line of text
COLUMNS = 6
HEAD = 30
MAX_CHARACTERS = 17  # of a caption line below a sample

INK, QUIET, RIGHT, WRONG = "#17202b", "#586472", "#14794a", "#b3261e"


@dataclass(frozen=True, slots=True)
class Tile:
    """A sample with lines of text below it."""

    picture: Picture | None
    lines: Sequence[str]
    is_right: bool


Section = tuple[str, Sequence[Tile]]


def png(picture: Picture) -> bytes:
    """Return an image as a PNG with 8 bits per channel (ISO/IEC 15948)."""
    height, width, channels = picture.shape
    content, stride = picture.content, width * channels
    rows = b"".join(b"\0" + content[row * stride : (row + 1) * stride] for row in range(height))
    colour = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def png_uri(picture: Picture) -> str:
    """Return an image as a data URI of its PNG."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def curves(picture: Picture, *, width: float, height: float) -> list[str]:
    """Return the curves of a signal in a box, each in the form of `points` of an SVG polyline."""
    channels, length = picture.shape
    content = picture.content
    return [
        " ".join(
            f"{width * i / (length - 1):.1f},{height * (1 - content[channel * length + i] / 255):.1f}"
            for i in range(length)
        )
        for channel in range(channels)
    ]


def trial_sheet(look: TrialLook) -> str:
    """Return a sheet of a trial's right and wrong predictions, as an SVG document."""
    title = f"{look.study} #{look.trial}: {look.n_wrong} of {look.n_samples} wrong, by its {look.model} model"
    sections: list[Section] = [
        ("Confidently wrong", [_example(each) for each in look.confidently_wrong]),
        ("Worst: the least likely labels", [_example(each) for each in look.worst]),
        ("Best", [_example(each) for each in look.best]),
    ]
    return sheet(title, sections)


def study_sheet(look: StudyLook) -> str:
    """Return a sheet of the samples on which trials disagree, as an SVG document."""
    title = f"{look.study}: {look.n_samples} samples across {len(look.trials)} trials"
    sections: list[Section] = [
        ("The best trial is wrong, most others are right", [_disagreement(each) for each in look.best_wrong]),
        ("The best trial is right, most others are wrong", [_disagreement(each) for each in look.best_right]),
        ("All trials are wrong", [_disagreement(each) for each in look.all_wrong]),
    ]
    return sheet(title, sections)


def label_sheet(look: LabelLook) -> str:
    """Return a sheet of the samples whose labels may be wrong, as an SVG document."""
    title = f"{look.study}: {look.n_suspected} of {look.n_samples} labels are suspicious"
    return sheet(title, [("The most suspicious labels", [_issue(each) for each in look.issues])])


def sheet(title: str, sections: Sequence[Section]) -> str:
    """Return samples under headings, as an SVG document without scripts or links."""
    parts: list[str] = []
    top = HEAD
    for heading, tiles in sections:
        parts.append(_text(GAP, top + 18, f"{heading}{'' if tiles else ': none'}", size=14, colour=INK))
        top += HEAD
        height = TILE + GAP + LINE * max((len(tile.lines) for tile in tiles), default=0)
        for place, tile in enumerate(tiles):
            row, column = divmod(place, COLUMNS)
            parts.extend(_tile(tile, GAP + column * (TILE + GAP), top + row * height))
        top += height * (-(-len(tiles) // COLUMNS))
    width, total = GAP + COLUMNS * (TILE + GAP), top + GAP
    begin = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" viewBox="0 0 {width} {total}" '
        f'font-family="sans-serif"><title>{escape(title)}</title><rect width="100%" height="100%" fill="#ffffff"/>'
    )
    return "\n".join([begin, _text(GAP, 20, title, size=16, colour=INK), *parts, "</svg>\n"])


def _tile(tile: Tile, x: int, y: int) -> Iterator[str]:
    frame = RIGHT if tile.is_right else WRONG
    yield (f'<rect x="{x}" y="{y}" width="{TILE}" height="{TILE}" fill="#f1f4f7" stroke="{frame}" stroke-width="1.5"/>')
    if tile.picture is None:
        yield _text(x + 8, y + TILE // 2, "no picture", size=11, colour=QUIET)
    elif tile.picture.is_signal:
        for points in curves(tile.picture, width=TILE - 8, height=TILE - 8):
            place = f'transform="translate({x + 4},{y + 4})"'
            yield f'<polyline points="{points}" {place} fill="none" stroke="{INK}" stroke-width="1.2"/>'
    else:
        place = f'x="{x + 2}" y="{y + 2}" width="{TILE - 4}" height="{TILE - 4}"'
        yield f'<image {place} style="image-rendering:pixelated" href="{png_uri(tile.picture)}"/>'
    for line, text in enumerate(tile.lines):
        yield _text(x, y + TILE + LINE * (line + 1), text, size=11, colour=QUIET if line else frame)


def _text(x: int, y: int, text: str, *, size: int, colour: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{escape(text)}</text>'


def _example(each: Example) -> Tile:
    verdict = each.predicted if each.predicted == each.label else f"{each.predicted}, is {each.label}"
    return Tile(
        each.picture, (_cut(verdict), f"{each.confidence:.3f}", _cut(f"#{each.id}")), each.predicted == each.label
    )


def _disagreement(each: Disagreement) -> Tile:
    n_right = sum(opinion.is_right for opinion in each.opinions)
    best = each.opinions[0]
    lines = (f"is {each.label}", f"best: {best.predicted}", f"{n_right} of {len(each.opinions)} right", f"#{each.id}")
    return Tile(each.picture, tuple(map(_cut, lines)), best.is_right)


def _issue(each: LabelIssue) -> Tile:
    lines = (f"{each.label}? {each.suggested}", f"margin {each.margin:.3f}", f"#{each.id}")
    return Tile(each.picture, tuple(map(_cut, lines)), not each.is_suspected)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
