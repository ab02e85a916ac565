"""What a person corrected is on the disk at once, and comes out as a row that training takes."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from segzero_ros.msg import Segmentation
from sensor_msgs.msg import CompressedImage

from segzero_ros.answer import Target
from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.pipeline import Pipeline
from segzero_ros.pipeline import Segmentation as Result
from segzero_ros.profile import get_profile
from segzero_ros.recorder.commands import RecordedCommand, read_commands
from segzero_ros.recorder.reader import open_recording
from segzero_ros.replay.compare import replay
from segzero_ros.ros.console.corrections import CorrectionFile
from segzero_ros.ros.convert import frame_decoder
from tests.ros.robot import picture
from training.data.from_recording import write_rows
from training.data.plain import read_row

PIPELINE = Pipeline(get_profile(PROFILE), FakeReasoner(), FakeSegmenter())
PROMPTS = [{"box": [10, 5, 30, 25], "on": [], "off": [[29, 24]]}]


def corrected(*boxes: tuple[float, float, float, float], id: str = "7") -> Result:
    frame = frame_decoder(picture())()
    return PIPELINE.mask(frame, Command(id, "the red mug"), tuple(Target(box, ()) for box in boxes))


def answer(id: str = "7") -> Segmentation:
    return Segmentation(command_id=id, command="the red mug", bundle="tabletop")


def read(file: str) -> list[RecordedCommand]:
    return list(read_commands(open_recording(Path(file))))


def test_a_correction_is_in_the_file_before_the_console_ends(tmp_path: Path) -> None:
    kept = CorrectionFile(str(tmp_path))
    (found,) = read(kept.write(picture(), answer(), corrected((10, 5, 30, 25)), PROMPTS))
    assert (found.is_corrected, found.text, found.code, found.is_marked) == (True, "the red mug", Code.OK, False)
    assert np.array_equal(found.frame().rgb, frame_decoder(picture())().rgb)
    assert (found.labels() == 1).sum() == 400
    kept.close()


def test_a_compressed_picture_is_kept_as_it_came(tmp_path: Path) -> None:
    import cv2

    rgb = frame_decoder(picture())().rgb
    message = CompressedImage(format="png")
    message.data.frombytes(cv2.imencode(".png", rgb)[1].tobytes())
    kept = CorrectionFile(str(tmp_path))
    (found,) = read(kept.write(message, answer(), corrected((10, 5, 30, 25)), PROMPTS))
    assert np.array_equal(found.frame().rgb, rgb[:, :, ::-1])
    kept.close()


def test_the_last_correction_of_an_answer_is_its_row_and_training_reads_it(tmp_path: Path) -> None:
    kept = CorrectionFile(str(tmp_path / "kept"))
    kept.write(picture(), answer(), corrected((1, 1, 40, 40)), PROMPTS)
    kept.write(picture(), answer("8"), corrected(id="8"), [])
    file = kept.write(picture(), answer(), corrected((10, 5, 30, 25), (40, 30, 60, 45)), PROMPTS)
    counts = write_rows(read(file), tmp_path / "rows", with_answers=False)
    rows = [json.loads(line) for line in (tmp_path / "rows" / "corrected.jsonl").read_text().splitlines()]
    assert counts["corrected.jsonl"] == len(rows) == 2 and counts["to_label.jsonl"] == 0
    by_id = {row["id"]: row for row in rows}
    assert by_id["7"]["boxes"] == [[10, 5, 30, 25], [40, 30, 60, 45]] and by_id["8"]["boxes"] == []
    example = read_row(tmp_path / "rows", by_id["7"], "7")
    assert example.mask is not None and example.mask.sum() == 400 + 300
    assert read_row(tmp_path / "rows", by_id["8"], "8").boxes == ()
    kept.close()


def test_a_correction_is_no_answer_to_be_replayed(tmp_path: Path) -> None:
    kept = CorrectionFile(str(tmp_path))
    (found,) = read(kept.write(picture(), answer(), corrected((10, 5, 30, 25)), PROMPTS))
    assert replay(found, PIPELINE).kind == "not asked"
    kept.close()


def test_a_disk_that_says_no_is_said_and_the_next_one_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segzero_ros.recorder.store import Store

    kept = CorrectionFile(str(tmp_path))
    with monkeypatch.context() as full:
        full.setattr(Store, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(RejectedInput, match="No space left"):
            kept.write(picture(), answer(), corrected((10, 5, 30, 25)), PROMPTS)
    assert len(read(kept.write(picture(), answer(), corrected((10, 5, 30, 25)), PROMPTS))) == 1
    kept.close()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RejectedInput, match="cannot record to"):
        CorrectionFile(str(tmp_path / "file")).write(picture(), answer(), corrected((10, 5, 30, 25)), PROMPTS)
