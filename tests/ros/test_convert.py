"""Messages become values and values messages, pixel by pixel and without a copy more than needed."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from segzero_ros.msg import Segmentation
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import ENCODINGS, Frame
from segzero_ros.pipeline import Instance, Timing, unanswered
from segzero_ros.ros import convert
from tests.ros.robot import picture


@pytest.mark.parametrize(("dtype", "encoding"), [(np.uint8, "mono8"), (np.uint16, "mono16")])
def test_a_mask_message_holds_the_labels(dtype, encoding):
    labels = np.random.default_rng(1).integers(0, 250, (37, 53)).astype(dtype)
    message = convert.mask_message(Header(frame_id="camera"), labels)
    assert (message.height, message.width, message.encoding) == (37, 53, encoding)
    assert message.step == 53 * labels.itemsize
    assert (np.frombuffer(message.data, dtype).reshape(37, 53) == labels).all()


def test_a_view_that_is_not_contiguous_is_stored_row_by_row():
    labels = np.arange(60, dtype=np.uint8).reshape(6, 10)[::2, ::-1]
    message = convert.mask_message(Header(), labels)
    assert bytes(message.data) == labels.tobytes()


def test_no_picture_is_an_image_without_pixels():
    message = convert.mask_message(Header(), np.zeros((0, 0), np.uint8))
    assert (message.height, message.width, message.step, len(message.data)) == (0, 0, 0, 0)


def test_a_camera_message_becomes_a_frame_with_its_stamp():
    message = picture(9, 7, stamp=(-3, 999_999_999), frame_id="left")
    frame = convert.frame_decoder(message)()
    assert (frame.stamp_ns, frame.frame_id, frame.size) == (-2_000_000_001, "left", (9, 7))
    assert frame.rgb.tobytes() == bytes(message.data)


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "64FC4"},
        {"encoding": ""},
        {"height": 0},
        {"height": 2**32 - 1},
        {"width": 2**32 - 1},
        {"width": 9},
        {"height": 7},
        {"step": 0},
        {"step": 23},
        {"step": 2**32 - 1},
        {"encoding": "bayer_rggb8", "width": 7},
        {"encoding": "nv12", "height": 5},
    ],
)
def test_what_cannot_be_decoded_is_known_before_decoding(change):
    message = picture(8, 6)
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(RejectedInput, match="IMAGE_"):
        convert.frame_decoder(message)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_what_passes_the_check_can_be_decoded(encoding):
    message = Image(height=4, width=8, encoding=encoding, step=40)
    message.data.frombytes(bytes(40 * (6 if encoding in ("nv12", "nv21") else 4)))
    assert convert.frame_decoder(message)().size == (8, 4)


def test_an_empty_compressed_image_is_refused_at_once():
    with pytest.raises(RejectedInput, match="IMAGE_UNREADABLE"):
        convert.frame_decoder(CompressedImage())


def compressed(kind, pixels, ending=".png"):
    return convert.compressed_message(Header(), cv2.imencode(ending, pixels)[1].tobytes(), kind)


BLUE = np.tile(np.array([220, 10, 20], np.uint8), (16, 24, 1))  # BGR
BLUE_MOSAIC = np.zeros((16, 24), np.uint8)
BLUE_MOSAIC[::2, ::2] = 220  # of the pattern BGGR


@pytest.mark.parametrize(
    ("kind", "pixels", "ending"),
    [
        ("bgr8; jpeg compressed bgr8", BLUE, ".jpg"),
        ("bayer_grbg8; jpeg compressed bgr8", BLUE, ".jpg"),
        ("yuv422_yuy2; png compressed bgr8", BLUE, ".png"),
        ("rgb16; png compressed bgr16", BLUE.astype(np.uint16) * 257, ".png"),
        ("bgra8; png compressed ", BLUE, ".png"),
        ("png", BLUE, ".png"),
        ("mjpeg", BLUE, ".jpg"),
        ("", BLUE, ".jpg"),
        ("bayer_bggr8; png compressed ", BLUE_MOSAIC, ".png"),
        ("bayer_bggr8; png compressed bayer_bggr8", BLUE_MOSAIC, ".png"),
        ("BAYER_BGGR8; PNG compressed ", BLUE_MOSAIC, ".png"),
    ],
)
def test_a_compressed_image_has_the_colours_that_its_format_names(kind, pixels, ending):
    rgb = convert.frame_decoder(compressed(kind, pixels, ending))().rgb.reshape(-1, 3).mean(axis=0)
    assert rgb[2] > 150
    assert max(rgb[:2]) < 60


@pytest.mark.parametrize(
    "kind",
    [
        "16UC1; png compressed ",
        "32FC1; compressedDepth png",
        "16UC1; compressedDepth",
        "compressedDepth",
        "8UC3; jpeg compressed ",
        "8UC1;png compressed",
        "bayer_rggb16; png compressed ",
        "mono16; png compressed 16UC1",
        "16uc1",
        "TYPE_32FC1; png compressed",
        "32fc1; compresseddepth rvl",
        "bayer_rggb8; compressedDepth png",
        "png bayer_rggb8",
        "disparity",
    ],
)
def test_pixels_that_are_no_colours_are_refused_by_their_format_at_once(kind):
    with pytest.raises(RejectedInput, match="IMAGE_ENCODING"):
        convert.frame_decoder(compressed(kind, BLUE))


def test_a_cameras_exif_turns_nothing():
    exif, out = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    PIL.Image.fromarray(BLUE).save(out, "JPEG", exif=exif)
    assert convert.frame_decoder(convert.compressed_message(Header(), out.getvalue()))().size == (24, 16)


@pytest.mark.parametrize("text", ["plain", "\ud83d", "a\0b", "\udfff" * 3, "\U0001f600", "x" * 100_000])
def test_whatever_a_model_says_can_be_published(text):
    safe = convert.safe_text(text)
    assert deserialize_message(serialize_message(String(data=safe)), String).data == safe
    assert len(safe) <= convert.MAX_TEXT_CHARS


def test_an_answer_survives_the_wire():
    frame = Frame(np.zeros((4, 6, 3), np.uint8), 5, "camera")
    result = unanswered(Command("7", "the mug"), Code.OK, "", frame)
    found = Instance("mug", 0.5, (1.0, 1.0, 3.0, 4.0), (2.0, 2.0), 1)
    labels = np.zeros((4, 6), np.uint8)
    labels[1:4, 1:3] = 1
    result = type(result)(result.command, Code.OK, "", "Here.", (found,), labels, frame, Timing(tokens=9), "text")
    header = Header(frame_id="camera")
    header.stamp.nanosec = 5
    message = convert.segmentation_message(
        result,
        mask=convert.mask_message(header, labels),
        completed=header.stamp,
        bundle="b",
        positions=((1.0, 2.0, 3.0),),
        note="a note",
    )
    again = deserialize_message(serialize_message(message), Segmentation)
    assert again == message
    assert again.header == again.mask.header == header
    assert (again.instances[0].position.z, again.instances[0].score, again.timing.tokens) == (3.0, 0.5, 9)
    assert (again.detail, again.reasoning, again.bundle) == ("a note", "Here.", "b")
