"""The picture for people: masks tinted and outlined, boxes, points, labels with scores, the command below."""

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.errors import Code
from segzero_ros.pipeline import Instance, Segmentation

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Okabe and Ito's palette without its black: distinguishable by colour-blind eyes too.
_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
_TINT = 0.45  # share of the colour inside a mask
_MIN_WIDTH = 480  # smaller pictures are enlarged, so that the text stays readable
_MAX_HEIGHT = 1440  # beyond which nothing is enlarged: a frame of 20 x 8000 pixels would become gigabytes
_CAPTION_LINES = 3
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE: Colour = (255, 255, 255)
_GREY: Colour = (190, 190, 190)
_DARK: Colour = (24, 24, 27)
_RED: Colour = (255, 120, 110)


def draw_overlay(result: Segmentation, rgb: Image | None = None) -> Image:
    """Return a new RGB picture uint8 (H', W', 3) of ``result``; H' > H, as the caption stands below the frame.

    ``rgb``: draw on this picture of the frame's size instead of the frame. Frames narrower than 480 pixels are
    enlarged by a whole factor, tall ones given a margin instead.
    """
    rgb = result.frame.rgb if rgb is None else rgb
    if rgb.size == 0:
        rgb = np.zeros((240, _MIN_WIDTH, 3), np.uint8)
    factor = max(1, min(-(-_MIN_WIDTH // rgb.shape[1]), _MAX_HEIGHT // rgb.shape[0]))
    picture = _tinted(rgb, result, factor)
    scale = _text_scale(picture)
    for instance in result.instances:
        _draw_box(picture, instance, factor, scale)
    for instance in result.instances:
        _draw_label(picture, instance, _label_text(instance, result, scale, picture.shape[1]), factor, scale)
    if picture.shape[1] < _MIN_WIDTH:
        margin = _MIN_WIDTH - picture.shape[1]
        picture = _array(cv2.copyMakeBorder(picture, 0, 0, 0, margin, cv2.BORDER_CONSTANT, value=_DARK))
    return np.vstack([picture, _caption(result, picture.shape[1], scale)])


def colour_of(mask_index: int) -> Colour:
    """Return the RGB colour of the instance with this mask index."""
    return _PALETTE[(mask_index - 1) % len(_PALETTE)]


def _tinted(rgb: Image, result: Segmentation, factor: int) -> Image:
    """Return a copy of ``rgb``, enlarged, with every mask tinted and outlined."""
    picture = rgb.copy()
    drawn = result.instances if result.labels.shape == rgb.shape[:2] else ()
    masks = [(instance, _mask(result, instance)) for instance in drawn]
    for instance, mask in masks:
        _tint(picture, mask, colour_of(instance.mask_index))
    if factor > 1:
        picture = _array(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC))
    for instance, mask in masks:
        _draw_outline(picture, mask, colour_of(instance.mask_index), factor)
    return picture


def _mask(result: Segmentation, instance: Instance) -> Image:
    """Return the pixels of ``instance``: uint8 (H, W), 0 or 255."""
    return _array(cv2.inRange(result.labels, instance.mask_index, instance.mask_index))


def _tint(picture: Image, mask: Image, colour: Colour) -> None:
    """Mix ``colour`` into the masked pixels, by one table per channel over the mask's own rectangle."""
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return
    part, inside = picture[y : y + height, x : x + width], mask[y : y + height, x : x + width]
    levels = np.arange(256)[:, None] * (1 - _TINT) + np.array(colour) * _TINT
    mixed = cv2.LUT(part, levels.astype(np.uint8).reshape(1, 256, 3))
    part[:] = cv2.copyTo(mixed, inside, part.copy())


def _draw_outline(picture: Image, mask: Image, colour: Colour, factor: int) -> None:
    if factor > 1:
        mask = _array(cv2.resize(mask, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR))
        mask = (mask > 127).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, colour, max(1, picture.shape[1] // 320), cv2.LINE_AA)


def _draw_box(picture: Image, instance: Instance, factor: int, scale: float) -> None:
    x0, y0, x1, y1 = (round(value * factor) for value in instance.box)
    cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), colour_of(instance.mask_index), 1, cv2.LINE_AA)
    centre = (round(instance.point[0] * factor), round(instance.point[1] * factor))
    radius = max(3, round(7 * scale))
    cv2.circle(picture, centre, radius, _WHITE, -1, cv2.LINE_AA)
    cv2.circle(picture, centre, radius, colour_of(instance.mask_index), max(1, radius // 2), cv2.LINE_AA)


def _label_text(instance: Instance, result: Segmentation, scale: float, width: int) -> str:
    """Return number, label and score; a label that only repeats the command is left to the caption."""
    label = "" if instance.label == result.command.text else _fitted(_ascii(instance.label), scale, width // 2) + " "
    return f"{instance.mask_index}: {label}{instance.score:.2f}"


def _draw_label(picture: Image, instance: Instance, text: str, factor: int, scale: float) -> None:
    """Write ``text`` in a filled rectangle above the box, or inside it where there is no room."""
    (width, height), base = cv2.getTextSize(text, _FONT, scale, 1)
    margin = 3
    box_height = height + base + 2 * margin
    left = min(max(0, round(instance.box[0] * factor)), max(0, picture.shape[1] - width - 2 * margin))
    top = round(instance.box[1] * factor) - box_height
    top = top if top >= 0 else round(instance.box[1] * factor)
    colour = colour_of(instance.mask_index)
    cv2.rectangle(picture, (left, top), (left + width + 2 * margin, top + box_height), colour, -1)
    text_colour = _DARK if sum(colour) > 330 else _WHITE
    cv2.putText(picture, text, (left + margin, top + margin + height), _FONT, scale, text_colour, 1, cv2.LINE_AA)


def _caption(result: Segmentation, width: int, scale: float) -> Image:
    """Return the strip below the picture: the command, and what came of it."""
    found = result.code in (Code.OK, Code.NO_TARGET)
    took = f"  {result.timing.total_ms:.0f} ms" if result.timing.total_ms else ""  # drawn truth takes no time
    status = result.code.name.replace("_", " ").lower() + took
    lines = [(line, _WHITE) for line in _wrapped(f"> {_ascii(result.command.text)}", scale, width, 2)]
    lines.append((status, _GREY if found else _RED))
    if not found:
        lines.append((_fitted(_ascii(result.detail), scale, width - 16), _GREY))
    elif result.reasoning:
        lines += [(line, _GREY) for line in _wrapped(_ascii(result.reasoning), scale, width, _CAPTION_LINES)]
    step = round(cv2.getTextSize("Mg", _FONT, scale, 1)[0][1] * 1.9)
    strip = np.full((step * len(lines) + step // 2, width, 3), _DARK, np.uint8)
    for row, (line, colour) in enumerate(lines, start=1):
        cv2.putText(strip, line, (8, row * step), _FONT, scale, colour, 1, cv2.LINE_AA)
    return strip


def _text_scale(picture: Image) -> float:
    return float(max(0.4, min(1.2, picture.shape[1] / 1400)))


def _wrapped(text: str, scale: float, width: int, most: int) -> list[str]:
    """Break ``text`` into at most ``most`` lines that fit; the last one ends in dots if there is more."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most:
        count = 1
        while count < len(words) and _fits(" ".join(words[: count + 1]), scale, width - 16):
            count += 1
        rest = " ".join(words) if len(lines) + 1 == most else " ".join(words[:count])
        lines.append(_fitted(rest, scale, width - 16))
        words = words[count:]
    return lines


def _fitted(text: str, scale: float, width: int) -> str:
    """Cut ``text`` to ``width`` pixels, with dots where something was cut."""
    text = text[: max(8, width)]  # no letter is narrower than a pixel
    if _fits(text, scale, width):
        return text
    least, most = 0, len(text)  # so many characters fit; so many do not
    while most - least > 1:
        half = (least + most) // 2
        least, most = (half, most) if _fits(text[:half] + "...", scale, width) else (least, half)
    return text[:least].rstrip() + "..."


def _fits(text: str, scale: float, width: int) -> bool:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0]) <= width


def _ascii(text: str) -> str:
    """Replace what OpenCV's font cannot draw."""
    return " ".join(text.encode("ascii", "replace").decode("ascii").split())


def _array(pixels: object) -> Image:
    return np.asarray(pixels, np.uint8)
