"""What the demo leaves for the eye: one card per command, all cards on one sheet, and a short animation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from segzero_ros.demo.script import Picture

WIDTH = 320  # of a card's picture; its height is 3/4 of it
HEIGHT = 240
MARGIN = 12
WORDS = 112  # height of the card's text
COLUMNS = 5

PAPER, INK, GREY, LINE = "#ffffff", "#1b1f24", "#656d76", "#d8dee4"
GOOD, EMPTY, STOPPED, BAD = "#1a7f37", "#0969da", "#656d76", "#cf222e"
_COLOUR_OF = {"OK": GOOD, "NO_TARGET": EMPTY, "CANCELLED": STOPPED, "PREEMPTED": STOPPED}


@dataclass(frozen=True, slots=True)
class Card:
    """One command and what came of it.

    ``picture``: uint8 RGB (H, W, 3), 4:3, masks already on it. ``facts``: a few words for the right of the last line.
    """

    number: int
    command: str
    picture: Picture
    reasoning: str
    code: str
    facts: str


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size)


def draw_card(card: Card) -> Image.Image:
    """Return the card as a picture of WIDTH x (HEIGHT + WORDS)."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT + WORDS), PAPER)
    sheet.paste(Image.fromarray(card.picture).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, WIDTH - 1, HEIGHT + WORDS - 1), outline=LINE)
    top = HEIGHT + 6
    for line in wrap(f"{card.number}. {card.command}", 15, WIDTH - 16, 2):
        draw.text((8, top), line, INK, font(15))
        top += 19
    for line in wrap(card.reasoning, 12, WIDTH - 16, (HEIGHT + WORDS - 26 - top) // 15):
        draw.text((8, top), line, GREY, font(12))
        top += 15
    bottom = HEIGHT + WORDS - 22
    draw.text((8, bottom), card.code, _COLOUR_OF.get(card.code, BAD), font(14))
    draw.text((WIDTH - 8, bottom), card.facts, INK, font(14), anchor="ra")
    return sheet


def wrap(text: str, size: int, width: int, most: int) -> list[str]:
    """Break ``text`` into at most ``most`` lines of ``width`` pixels; where there is more, in an ellipsis."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most:
        count = _fitting(words, size, width)
        lines.append(" ".join(words[:count]))
        words = words[count:]
    if words and lines:
        lines[-1] = _shorten(lines[-1] + " …", size, width)
    return [_shorten(line, size, width) for line in lines]


def _fitting(words: Sequence[str], size: int, width: int) -> int:
    """Return how many words fit on one line, at least one."""
    count = 1
    while count < len(words) and font(size).getlength(" ".join(words[: count + 1])) <= width:
        count += 1
    return count


def _shorten(line: str, size: int, width: int) -> str:
    while len(line) > 2 and font(size).getlength(line) > width:
        line = line[:-2].rstrip(" …") + "…"
    return line


def contact_sheet(cards: Sequence[Card], title: str, subtitle: str) -> Image.Image:
    """Return all cards on one sheet, COLUMNS in a row."""
    rows = -(-len(cards) // COLUMNS)
    across = COLUMNS * (WIDTH + MARGIN) + MARGIN
    head = 64
    sheet = Image.new("RGB", (across, head + rows * (HEIGHT + WORDS + MARGIN)), "#f6f8fa")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 10), title, INK, font(24))
    draw.text((MARGIN, 40), subtitle, GREY, font(14))
    for at, card in enumerate(cards):
        row, column = divmod(at, COLUMNS)
        place = (MARGIN + column * (WIDTH + MARGIN), head + row * (HEIGHT + WORDS + MARGIN))
        sheet.paste(draw_card(card), place)
    return sheet


@dataclass(frozen=True, slots=True)
class Moment:
    """One picture of the animation: the camera's picture, the command and its reasoning by then; shown for ``ms``."""

    picture: Picture
    command: str
    thought: str
    code: str
    ms: int


SCENE_WIDTH, SCENE_HEIGHT, CAPTION = 360, 270, 66
COLOURS = 200  # of the animation


def draw_moment(moment: Moment) -> Image.Image:
    """Return the moment with its words below."""
    sheet = Image.new("RGB", (SCENE_WIDTH, SCENE_HEIGHT + CAPTION), PAPER)
    # The camera's noise is most of a GIF's size and nothing to look at: a small median takes it away.
    scene = Image.fromarray(moment.picture).resize((SCENE_WIDTH, SCENE_HEIGHT), Image.Resampling.LANCZOS)
    sheet.paste(scene.filter(ImageFilter.MedianFilter(3)))
    draw = ImageDraw.Draw(sheet)
    draw.text((8, SCENE_HEIGHT + 4), _shorten(moment.command, 15, SCENE_WIDTH - 16), INK, font(15))
    for at, line in enumerate(wrap(moment.thought, 12, SCENE_WIDTH - 16, 2)):
        draw.text((8, SCENE_HEIGHT + 26 + 16 * at), line, GREY, font(12))
    if moment.code:
        colour = _COLOUR_OF.get(moment.code, BAD)
        draw.text((SCENE_WIDTH - 8, SCENE_HEIGHT + 46), moment.code, colour, font(13), anchor="ra")
    return sheet


def write_animation(moments: Sequence[Moment], path: Path) -> None:
    """Write a GIF that repeats for ever; one palette for all pictures, so that only what changes is stored."""
    frames = [draw_moment(moment) for moment in moments]
    palette = _palette(frames)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [moment.ms for moment in moments]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=durations, loop=0, optimize=False, disposal=1)


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """Return a picture with a palette that fits them all; small coloured things, as masks are, keep their colours."""
    few = frames[:: max(1, len(frames) // 16)]
    mixed = Image.new("RGB", (SCENE_WIDTH, (SCENE_HEIGHT + CAPTION) * len(few)))
    for at, frame in enumerate(few):
        mixed.paste(frame, (0, at * (SCENE_HEIGHT + CAPTION)))
    mixed = mixed.resize((mixed.width // 2, mixed.height // 2), Image.Resampling.NEAREST)
    return mixed.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
