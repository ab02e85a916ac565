"""A bundle for one world says so of pictures that look like none of it, and is silent on its own."""

import json
import shutil

import cv2
import numpy as np
import pytest

from segzero_ros.backends.world import make_caution, no_caution, picture_statistics
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.cli.main import main
from segzero_ros.frame import Frame

HEIGHT, WIDTH = 480, 640


@pytest.fixture(scope="module")
def caution():
    bundle = open_bundle(resolve_bundle("tabletop"))
    return make_caution(bundle.name, bundle.provenance)


def strange_pictures():
    """Name -> RGB picture of no table."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    flat = {
        name: np.full((HEIGHT, WIDTH, 3), value, np.uint8)
        for name, value in (("black", 0), ("grey", 90), ("white", 255))
    }
    text = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for line in range(14):
        cv2.putText(text, "neither mug nor bowl", (10, 30 + 33 * line), 0, 0.9, (0, 0, 0), 2)
    sky = np.where(y[..., None] < 240, (120, 170, 230), (70, 120, 50)) + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
    gradient = np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) * 255 // (WIDTH + HEIGHT)], axis=2)
    return flat | {
        "noise": rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8),
        "gradient": gradient.astype(np.uint8),
        "checker": np.repeat((((x // 32 + y // 32) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2),
        "text": text,
        "landscape": np.clip(sky, 0, 255).astype(np.uint8),
        **{f"clouds {n}": clouds(rng, 0.8 + 0.2 * n) for n in range(4)},
    }


def clouds(rng, steepness):
    """Coloured noise whose spectrum falls as that of photos does."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    planes = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(HEIGHT, WIDTH))) / frequency**steepness).real for _ in range(3)]
    field = np.stack([0.6 * planes[0] + 0.4 * plane for plane in planes], axis=2)
    return np.clip(120 + 55 * (field - field.mean()) / field.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", strange_pictures())
def test_a_picture_of_no_table_gets_a_caution(name, caution):
    said = caution(Frame(strange_pictures()[name], 0))
    assert "the bundle tabletop knows the demo world" in said
    assert "do not rely on the answer" in said


def test_pictures_of_the_demo_world_get_none(caution):
    pytest.importorskip("mujoco", reason="needs the demo world")
    from segzero_ros.tabletop import LiveWorld, Renderer, sample_scene

    with Renderer(640, 480) as renderer:
        drawn = [renderer.render(sample_scene(2_000_000_000 + seed, "test")).rgb for seed in range(60)]
    with LiveWorld("demo", 44, (640, 480)) as world:
        drawn += [world.step(float(t)).rgb for t in range(0, 60, 5)]
    assert [said for said in (caution(Frame(np.ascontiguousarray(rgb), 0)) for rgb in drawn) if said] == []


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1280, 960), (1920, 1080)])
def test_the_cameras_resolution_matters_little(size, caution):
    picture = cv2.cvtColor(
        cv2.imread(str(resolve_bundle("tabletop").parents[1] / "docs/images/table.jpg")), cv2.COLOR_BGR2RGB
    )
    assert caution(Frame(np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)), 0)) == ""


@pytest.mark.parametrize(
    "world",
    [None, 5, {}, {"name": "x"}, {"name": "x", "limit": 1, "mean": [1], "inverse_covariance": [[1]]}, {"mean": "x"}],
)
def test_a_bundle_that_says_nothing_of_its_world_gives_no_caution(world):
    assert make_caution("any", {"world": world} if world is not None else {}) is no_caution


def test_statistics_are_finite_for_any_picture():
    for size in ((1, 1, 3), (1, 4000, 3), (4000, 1, 3)):
        assert np.isfinite(picture_statistics(np.zeros(size, np.uint8))).all()


def test_ground_says_it_on_a_picture_that_is_no_table(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "sky.png"), strange_pictures()["landscape"])
    main(["ground", str(tmp_path / "sky.png"), "the mug", "--backend", "onnx"])
    assert "knows the demo world" in capsys.readouterr().out


def test_a_bundle_is_told_its_world_and_opens_as_before(tmp_path):
    pytest.importorskip("mujoco", reason="needs the demo world")
    from tools.describe_world import main as describe

    copy = tmp_path / "copy"
    shutil.copytree(resolve_bundle("tabletop"), copy)
    manifest = json.loads((copy / "bundle.json").read_text("utf-8"))
    before = manifest["provenance"].pop("world")
    (copy / "bundle.json").write_text(json.dumps(manifest), "utf-8")
    assert make_caution("copy", open_bundle(copy).provenance) is no_caution
    assert describe([str(copy), "--scenes", "100"]) == 0
    after = open_bundle(copy).provenance["world"]
    assert after.keys() == before.keys()
    assert np.allclose(after["mean"], before["mean"], atol=0.5)


@pytest.mark.parametrize("limit", [10**400, "x", None, [1]])
def test_a_world_with_a_limit_that_is_none_cautions_of_nothing(limit):
    world = {"mean": [0.0], "inverse_covariance": [[1.0]], "name": "x", "limit": limit}
    assert make_caution("b", {"world": world}) is no_caution
