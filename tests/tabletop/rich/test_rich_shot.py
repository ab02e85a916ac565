"""What a shot does to a picture and to depth: each effect against a second opinion."""

import cv2
import numpy as np
import pytest

from segzero_ros.tabletop.rich.shot import Shot, compressed, develop, noisy_depth


@pytest.fixture(scope="module")
def picture(rich_views) -> np.ndarray:
    return rich_views["train"][1].rgb


def test_a_shot_without_faults_changes_nothing(picture) -> None:
    depth = np.full((4, 5), 1.5, np.float32)
    assert np.array_equal(develop(picture, Shot()), picture)
    assert np.array_equal(noisy_depth(depth, Shot()), depth)


@pytest.mark.parametrize("quality", [35, 60, 80])
@pytest.mark.parametrize("size", [(240, 320), (61, 83)])
def test_compression_is_what_a_jpeg_file_does(quality, size, picture) -> None:
    cut = np.ascontiguousarray(picture[: size[0], : size[1]])
    _, file = cv2.imencode(".jpg", cut[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    theirs = cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    ours = compressed(cut.astype(np.float32), quality).astype(int)
    assert np.abs(ours - theirs).mean() < 0.5 * np.abs(cut - theirs).mean()


def test_noise_grows_with_brightness_and_is_the_same_for_the_same_seed() -> None:
    grey = np.full((200, 300, 3), 100, np.uint8)
    how = Shot(read=2.0, shot=6.0, seed=5)
    noisy = develop(grey, how)
    assert np.array_equal(noisy, develop(grey, how))
    assert noisy.std() == pytest.approx(np.hypot(2.0, 6.0 * np.sqrt(100 / 255)), rel=0.05)
    assert develop(grey // 5, how).std() < 0.75 * noisy.std()


def test_blur_smears_along_its_way_and_keeps_the_brightness() -> None:
    dot = np.zeros((41, 100, 3), np.uint8)
    dot[20, 50] = 200
    smeared = develop(dot, Shot(blur=(0.08, 0.0))).astype(int)
    rows, columns = np.nonzero(smeared[..., 0])
    assert set(rows) == {20}
    assert 8 <= columns.max() - columns.min() + 1 <= 10
    assert abs(columns.mean() - 50) <= 0.5


def test_balance_is_a_gain_per_channel() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert develop(grey, Shot(balance=(1.1, 1.0, 0.9)))[0, 0].tolist() == pytest.approx([110, 100, 90], abs=1)


def test_depth_noise_grows_with_the_square_of_the_distance_and_holes_are_zero() -> None:
    how = Shot(depth=0.004, holes=0.05, seed=3)
    near, far = (noisy_depth(np.full((300, 300), d, np.float32), how) for d in (1.0, 2.0))
    for depth, truth in ((near, 1.0), (far, 2.0)):
        assert (depth == 0).mean() == pytest.approx(0.05, abs=0.01)
        assert depth[depth > 0].mean() == pytest.approx(truth, rel=0.01)
    assert far[far > 0].std() / near[near > 0].std() == pytest.approx(4, rel=0.15)
