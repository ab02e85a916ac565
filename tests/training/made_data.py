"""Two rectangles on a grey picture, kept in every format that `training.data.open` reads; truth known by hand.

The picture is 80 x 60. The red one covers columns 10..19 and rows 10..29, the blue one columns 50..69 and rows 40..49.
"""

import json

import cv2
import numpy as np

WIDTH, HEIGHT = SIZE = (80, 60)
RED, BLUE = (10.0, 10.0, 20.0, 30.0), (50.0, 40.0, 70.0, 50.0)
RED_MASK, BLUE_MASK = np.zeros((2, HEIGHT, WIDTH), bool)
RED_MASK[10:30, 10:20] = True
BLUE_MASK[40:50, 50:70] = True


def picture():
    rgb = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    rgb[RED_MASK] = (200, 0, 0)
    rgb[BLUE_MASK] = (0, 0, 200)
    return rgb


def png(pixels):
    """The bytes of a PNG: RGB (H, W, 3) or labels (H, W)."""
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes()


def write_plain(folder, *rows, name="data.jsonl"):
    """A picture `a.png` and these rows, dicts or lines as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(png(picture()))
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def row(question="the red one", boxes=((10, 10, 20, 30),), **more):
    return {"image": "a.png", "question": question, "boxes": [list(box) for box in boxes], **more}


def polygon(box):
    x0, y0, x1, y1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def runs(mask):
    """COCO's run lengths, counted one pixel after the other down the columns."""
    counts, last = [0], False
    for value in mask.T.ravel().tolist():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return counts


def annotations():
    """COCO annotations: a red thing as polygon, a blue one as run lengths, a crowd of blue ones, a box without mask."""
    things = [
        {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [polygon(RED)], "bbox": [10, 10, 10, 20]},
        {
            "id": 2,
            "image_id": 7,
            "category_id": 2,
            "iscrowd": 0,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs(BLUE_MASK)},
        },
        {
            "id": 3,
            "image_id": 7,
            "category_id": 2,
            "iscrowd": 1,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs(RED_MASK)},
        },
        {"id": 4, "image_id": 7, "category_id": 3, "bbox": [50, 40, 20, 10]},
    ]
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": things,
        "categories": [{"id": 1, "name": "red thing"}, {"id": 2, "name": "blue thing"}, {"id": 3, "name": "box"}],
    }


def references():
    """RefCOCO's and gRefCOCO's kinds: one object with two sentences, two objects, none."""

    def ref(number, ann_id, *sentences, split="val", **more):
        said = [{"sent_id": n, "sent": text, "raw": text.upper()} for n, text in enumerate(sentences)]
        return {"ref_id": number, "image_id": 7, "ann_id": ann_id, "split": split, "sentences": said, **more}

    return [
        ref(0, 1, "the red one", "left thing"),
        ref(1, [1, 2], "both"),
        ref(2, [-1], "the green one", no_target=True),
        ref(3, 2, "the blue one", split="train"),
    ]


def write_coco(folder, value=None, refs=None):
    """`instances.json`, the picture in `images/train2014/`, and `refs.json` where references are given."""
    (folder / "images" / "train2014").mkdir(parents=True)
    (folder / "images" / "train2014" / "a.png").write_bytes(png(picture()))
    (folder / "instances.json").write_text(json.dumps(value or annotations()))
    if refs is not None:
        (folder / "refs(unc).json").write_text(json.dumps(refs))
    return folder


def shape(label, x0, y0, x1, y1):
    """A LabelMe polygon whose outline runs through these pixels."""
    return {"label": label, "points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}


def write_reasonseg(folder, name="one", texts=("what is red?",), shapes=None, encoding="utf-8"):
    """`NAME.jpg` and `NAME.json` as LISA has them."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.jpg"), np.ascontiguousarray(picture()[..., ::-1]))
    shapes = [shape("target", 10, 10, 19, 29)] if shapes is None else shapes
    value = {"text": list(texts), "is_sentence": True, "shapes": shapes}
    (folder / f"{name}.json").write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))
    return folder


def write_scenes(folder):
    """One shard of one picture with two questions, as `segzero train data` renders them."""
    shard = folder / "shard-00000"
    shard.mkdir(parents=True)
    np.save(shard / "images.npy", picture()[None])
    np.save(shard / "labels.npy", (RED_MASK + 2 * BLUE_MASK).astype(np.uint8)[None])
    asked = {"thinking": [], "unseen_pair": True, "unseen_wording": False}
    both = {"type": "several", "text": "both things", "targets": [2, 1], **asked}
    none = {"type": "absent", "text": "the green one", "targets": [], **asked}
    (shard / "scenes.jsonl").write_text(json.dumps({"objects": [], "instructions": [both, none]}) + "\n")
    return folder
