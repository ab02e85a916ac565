"""COCO annotations, alone or with the expressions of a RefCOCO-style set (RefCOCO, RefCOCO+, RefCOCOg, gRefCOCO).

Alone (CVAT, LabelMe and others export them): one example per picture and category. The question is the category's name,
every instance of it is meant, and ``iscrowd`` groups, which nobody separated, are pixels to ignore. What is known not
to be in a picture, LVIS's ``neg_category_ids`` of an image, is asked for too: nothing is meant.

With ``refs*.json`` or ``grefs*.json`` beside the annotations: what the expressions of a split refer to, at one of two
levels, which give different figures, so the name says which.
    DIR, DIR::expressions   one example per sentence
    DIR::instances          one example per referred object (its first sentence)
gRefCOCO's references to several objects have several boxes, those without target (``ann_id`` -1) none. The original
refs are Python pickles, which run what they like when they are opened and are therefore not: save them as JSON once.

Pictures are looked for below the folder (images/, train2014/, ...; a link to a folder of pictures will do). Polygons
are filled as COCO's own tool fills them; boxes stand around the masks, or are the ``bbox`` where there is no mask.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import MAX_TARGETS
from segzero_ros.cli.offline import INSTALL
from segzero_ros.cli.parser import missing
from segzero_ros.errors import nearest
from segzero_ros.matching import Box, box_of_mask
from training.data.base import Example, Examples, Mask, Rows, are_numbers, quote, read_boxes, read_question, unusable
from training.data.files import find_name, inside, read_json, read_rgb
from training.data.masks import decode_segmentation, inscribed_points, points_in_box, union

LEVELS = ("expressions", "instances")
DEEPEST = 4  # folders below the data set's in which pictures are looked for: images/mscoco/images/train2014
MOST_FOLDERS = 2000


def annotation_file(path: Path, split: str) -> Path | None:
    """Return the COCO annotations of a folder (or the file itself); None where it has none.

    ``RejectedInput`` where the split's own cannot be told: their names or their folder's must have it in them.
    """
    if path.is_file():
        return path if path.suffix == ".json" else None
    files = _annotation_files(path)
    of_split = [file for file in files if split in str(file.relative_to(path))]
    if len(of_split) == 1 or (split and of_split):
        return of_split[0]
    if files and any(_is_refs(file) for file in path.glob("*.json")):
        return files[0]  # the references say which split is which
    if files:
        names = ", ".join(str(file.relative_to(path)) for file in files[:5])
        raise unusable(f"got the split {split!r} of {str(path)!r}, which has {names}; name another split, or the file")
    return None


def _annotation_files(folder: Path) -> list[Path]:
    """Return what may be annotations in a folder, its annotations/ or its splits: those named so, else any JSON."""
    near = [*sorted(folder.glob("*.json")), *sorted(folder.glob("annotations/*.json"))]
    files = [file for file in (*near, *sorted(folder.glob("*/_annotations*.json"))) if not _is_refs(file)]
    named = [file for file in files if any(word in file.name for word in ("instances", "annotations", "coco"))]
    return list(dict.fromkeys(named or files))


def _is_refs(file: Path) -> bool:
    return file.name.startswith(("refs", "grefs"))


def open_coco(path: Path, split: str, level: str) -> Examples:
    """Return the examples of annotations, or of the expressions beside them at this level (empty: expressions)."""
    file = annotation_file(path, split)
    if file is None:
        raise unusable(f"got {str(path)!r} without COCO annotations, want instances.json beside the refs")
    refs = sorted(other for other in file.parent.glob("*refs*.json") if _is_refs(other))
    if path.is_file() or not refs:
        return _open_categories(file, path, level)
    if level not in ("", *LEVELS):
        raise unusable(f"got the level {level!r}{nearest(level, LEVELS)}")
    if len(refs) > 1:
        raise unusable(f"got {', '.join(ref.name for ref in refs)} in {str(path)!r}, want one; move the others away")
    return _Expressions(Annotations(file, path), refs[0], split, level or LEVELS[0])


def _open_categories(file: Path, path: Path, level: str) -> Examples:
    if level:
        raise unusable(f"got the level {level!r} of {str(path)!r}, which has no refs*.json; leave it out")
    folder = path if path.is_dir() else file.parent.parent if file.parent.name == "annotations" else file.parent
    return _Categories(Annotations(file, folder))


class Annotations:
    """A COCO file: ``images``, ``instances`` and ``categories`` by id, as they stand there."""

    def __init__(self, file: Path, folder: Path) -> None:
        value = read_json(file)
        if not isinstance(value, dict) or not {"images", "annotations"} <= value.keys():
            raise unusable(f"got {str(file)!r}, want COCO annotations: a JSON object with images and annotations")
        self.file = file
        self._folders = [file.parent]  # those in which pictures were found, to be tried first
        self._root = folder
        self.images = _by_id(value["images"], f"{file} images")
        self.instances = _by_id(value["annotations"], f"{file} annotations")
        self.categories = _by_id(value.get("categories", []), f"{file} categories")
        if missing(["pycocotools"]) and any(instance.get("segmentation") for instance in self.instances.values()):
            raise unusable(f"got outlines in {str(file)!r}, which need pycocotools; {INSTALL}")

    def picture(self, image_id: object) -> NDArray[np.uint8]:
        """Return a picture as RGB; ``RejectedInput`` unless it has the size that the annotations give it."""
        image = self.images.get(image_id) if isinstance(image_id, int | str) else None
        if image is None:
            raise unusable(f"got the image_id {quote(image_id)}, which images does not have; export the set again")
        rgb = read_rgb(self._path(image.get("file_name")))
        height, width = rgb.shape[:2]
        said = image.get("width", width), image.get("height", height)
        if said != (width, height):
            why = "it has an EXIF orientation: export anew from the turned picture" * (said == (height, width))
            raise unusable(
                f"got a picture of {width} x {height} where the annotations say {quote(list(said))}; "
                f"{why or 'use the pictures that were annotated'}"
            )
        return rgb

    def _path(self, name: object) -> Path:
        """Return a picture's path: in the folder where others were found, or wherever it lies below the data set."""
        for folder in itertools.chain(self._folders, folders_below(self._root)):
            if holds(folder, name):
                self._folders = [folder, *(other for other in self._folders if other != folder)]
                return inside(folder, name)
        return inside(self._root, name)


def _by_id(items: object, where: str) -> dict[int | str, dict[str, Any]]:
    if not isinstance(items, list) or not all(
        isinstance(item, dict) and isinstance(item.get("id"), int | str) for item in items
    ):
        raise unusable(f"got {where} that is no list of objects with an id; export the set again")
    found = {item["id"]: item for item in items}
    if len(found) != len(items):
        raise unusable(f"got {where} with {len(items) - len(found)} ids given twice; export the set again")
    return found


def holds(folder: Path, name: object) -> bool:
    """Tell whether the folder has a file of this name."""
    try:
        return isinstance(name, str) and find_name(folder, name) is not None
    except (OSError, ValueError):  # a name that no system takes
        return False


def folders_below(root: Path) -> Iterator[Path]:
    """Yield the folder and those below it, the near ones first, links followed once."""
    level, seen = [root], {root.resolve()}
    for _ in range(DEEPEST + 1):
        yield from level
        below = [path for folder in level for path in sorted(folder.iterdir()) if path.is_dir()]
        level = [path for path in below if (place := path.resolve()) not in seen and not seen.add(place)]  # type: ignore[func-returns-value]
        if len(seen) > MOST_FOLDERS:
            return


class Objects(NamedTuple):
    """What is meant: boxes, points and masks of objects, as an ``Example`` has them."""

    boxes: tuple[Box, ...]
    points: tuple[tuple[tuple[float, float], ...], ...]
    mask: Mask | None
    object_masks: tuple[Mask, ...]


def read_objects(instances: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Objects:
    """Return the objects of some annotations; boxes only where any of them has no segmentation.

    The box of an outline without ``bbox`` is the one around it.
    """
    if len(instances) > MAX_TARGETS:
        raise unusable(f"got {len(instances)} objects, want at most {MAX_TARGETS}; leave this picture out")
    if all(instance.get("segmentation") for instance in instances):
        masks = tuple(decode_segmentation(instance["segmentation"], size) for instance in instances)
        if not all(mask.any() for mask in masks):
            raise unusable("got an outline without a pixel inside the picture; draw it again")
        points = tuple(inscribed_points(mask) for mask in masks)
        return Objects(tuple(box_of_mask(mask) for mask in masks), points, union(masks, size), masks)
    boxes = read_boxes([_box_of(instance, size) for instance in instances], size)
    return Objects(boxes, tuple(points_in_box(box) for box in boxes), None, ())


def _box_of(instance: Mapping[str, Any], size: tuple[int, int]) -> object:
    if instance.get("bbox") is None and instance.get("segmentation"):
        mask = decode_segmentation(instance["segmentation"], size)
        if not mask.any():
            raise unusable("got an outline without a pixel inside the picture; draw it again")
        return list(box_of_mask(mask))
    return _corners(instance.get("bbox"))


def _corners(bbox: Any) -> object:
    """Return [x0, y0, x1, y1] of COCO's [x, y, width, height]; what is no such thing as it is."""
    if are_numbers(bbox, 4):
        x, y, width, height = bbox
        return [x, y, x + width, y + height]
    return bbox


class _Categories(Rows):
    """One example per picture and category."""

    def __init__(self, annotations: Annotations) -> None:
        self._annotations = annotations
        rows: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
        for instance in annotations.instances.values():
            key = (_hashable(instance.get("image_id")), _hashable(instance.get("category_id")))
            rows.setdefault(key, []).append(instance)
        self._negative = dict.fromkeys(_absent(annotations))
        for key in self._negative:
            rows.setdefault(key, [])
        self._rows = list(rows.items())
        self.name = f"{annotations.file.name}, one question per picture and category"

    def _where(self, row: Any) -> str:
        return f"{self._annotations.file} image {row[0][0]} category {row[0][1]}"

    def _read(self, row: Any) -> Example:
        (image, category), instances = row
        named = self._annotations.categories.get(category)
        if named is None:
            raise unusable(f"got the category_id {category!r}, which categories does not have; export it again")
        question = read_question(named.get("name"))
        if instances and (image, category) in self._negative:
            raise unusable("got an object of what neg_category_ids say is not in this picture; remove one of them")
        rgb = self._annotations.picture(image)
        size = rgb.shape[1], rgb.shape[0]
        odd = [instance["iscrowd"] for instance in instances if instance.get("iscrowd") not in (None, 0, 1)]
        if odd:
            raise unusable(f"got iscrowd {quote(odd[0])}, want 0 or 1; export the set again")
        crowds = [instance for instance in instances if instance.get("iscrowd")]
        single = [instance for instance in instances if not instance.get("iscrowd")]
        if crowds and not single:
            raise unusable("got only a crowd (iscrowd), no object by itself; outline the objects one by one")
        ignore = union([decode_segmentation(crowd.get("segmentation"), size) for crowd in crowds], size)
        meant = read_objects(single, size)._asdict()
        return Example(f"{image}-{category}", question, rgb, ignore=ignore if crowds else None, **meant)


def _absent(annotations: Annotations) -> Iterator[tuple[int | str, int | str]]:
    """Yield image and category of what is said not to be there."""
    for image in annotations.images.values():
        categories = image.get("neg_category_ids", [])
        if not isinstance(categories, list):
            raise unusable(
                f"got neg_category_ids {quote(categories)} of image {image['id']} in {annotations.file}, "
                "want a list of ids"
            )
        yield from ((image["id"], _hashable(category)) for category in categories)


def _hashable(value: object) -> int | str:
    return value if isinstance(value, int | str) else ascii(value)[:60]


class _Expressions(Rows):
    """One example per sentence, or per reference."""

    def __init__(self, annotations: Annotations, file: Path, split: str, level: str) -> None:
        self._annotations, self._file = annotations, file
        refs = read_json(file)
        if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
            raise unusable(f"got {str(file)!r}, want a JSON list of references, as RefCOCO's refs are")
        splits = sorted({str(ref.get("split", "")) for ref in refs})
        chosen = [(n, ref) for n, ref in enumerate(refs) if split in ("", ref.get("split"))]
        if not chosen:
            raise unusable(f"got the split {split!r} of {str(file)!r}{nearest(split, splits)}")
        each = level == "expressions"
        self._rows = [(n, ref, s) for n, ref in chosen for s in range(max(1, _sentences(ref)) if each else 1)]
        unit = "one question per expression" if each else "one question per referred object"
        self.name = f"{file.parent.name}/{file.name}, {split or 'all splits'}, {unit} ({level} level)"

    def _where(self, row: Any) -> str:
        return f"{self._file} reference {row[0]} sentence {row[2]}"

    def _read(self, row: Any) -> Example:
        number, ref, sentence = row
        question = read_question(_sentence(ref, sentence))
        rgb = self._annotations.picture(ref.get("image_id"))
        meant = read_objects(self._instances(ref), (rgb.shape[1], rgb.shape[0]))
        return Example(f"{ref.get('ref_id', number)}-{sentence}", question, rgb, **meant._asdict())

    def _instances(self, ref: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the annotations that a reference means; none where it means nothing."""
        wanted = ref.get("ann_id", [])
        wanted = wanted if isinstance(wanted, list) else [wanted]
        if ref.get("no_target") or wanted == [-1]:
            return []
        found = [self._annotations.instances.get(_hashable(id)) for id in wanted]
        if not found or any(instance is None for instance in found):
            raise unusable(f"got the ann_id {quote(wanted)}, which the annotations do not have; use the set's own file")
        instances = [instance for instance in found if instance is not None]
        image = ref.get("image_id")
        others = [instance["image_id"] for instance in instances if instance.get("image_id", image) != image]
        if others:
            raise unusable(
                f"got the image_id {quote(image)} and an object of {quote(others[0])}; use the set's own file"
            )
        return instances


def _sentences(ref: Mapping[str, Any]) -> int:
    sentences = ref.get("sentences")
    return len(sentences) if isinstance(sentences, list) else 0


def _sentence(ref: Mapping[str, Any], number: int) -> object:
    """Return a sentence as cleaned by the data set's authors, or as it was said where there is no such."""
    if number >= _sentences(ref) or not isinstance(ref["sentences"][number], dict):
        raise unusable(f"got the sentences {quote(ref.get('sentences'))}, want a list of objects with sent")
    sentence = ref["sentences"][number]
    return sentence.get("sent", sentence.get("raw"))
