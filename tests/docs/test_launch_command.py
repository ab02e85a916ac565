"""What the documents say to demo.launch.py fits the table that it shows, and `segzero ground` works as they type it."""

import json
import re
import shlex

import numpy as np
import pytest

from segzero_ros.backends import open_pipeline
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.cli.main import main
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.tabletop import LiveWorld, meaning
from segzero_ros.tabletop.language.query import Every, For, Most, Noun, One
from tests.docs.test_readme import DOCS, commands
from tools.readme import README, ROOT

MOMENTS_S = (0.0, 1.0, 4.0, 10.0, 17.0, 25.0, 40.0, 58.0)
MEANT = {  # every sentence that is said to the launched node, and what it means
    "something to drink from": For("drink"),
    "the white mug": One(Noun("mug", "white")),
    "the rightmost ball": Most(Noun("ball"), "rightmost"),
    "the red mug": One(Noun("mug", "red")),
    "the yellow ball": One(Noun("ball", "yellow")),
    "all the plates": Every(Noun("plate")),
}
SAID = re.compile(
    r"""demo\.launch\.py command:="([^"]+)"|segzero say "([^"]+)"(?! --json)|\"(?:data|command): '([^']+)'\""""
)
NOT_ON_THE_TABLE = {"..."}


def said_to_the_table():
    texts = [path.read_text(encoding="utf-8") for path in (*DOCS, ROOT / "launch" / "demo.launch.py")]
    texts += re.findall(r'"""`ros2 launch.*?"""', texts[-1], re.DOTALL)
    found = {next(filter(None, match)) for text in texts for match in SAID.findall(text)}
    return sorted(found - NOT_ON_THE_TABLE)


@pytest.fixture(scope="module")
def pipeline():
    return open_pipeline(open_bundle(resolve_bundle("tabletop")), "onnx")


@pytest.fixture(scope="module")
def views():
    """The world of the camera node's defaults, which the launch file does not override."""
    source = (ROOT / "segzero_ros" / "ros" / "camera_node.py").read_text(encoding="utf-8")
    scenario = re.search(r'"scenario", "(\w+)"', source).group(1)
    with LiveWorld(scenario, int(re.search(r'"seed", (\d+)', source).group(1)), (640, 480)) as world:
        return [world.step(moment) for moment in MOMENTS_S]


def test_the_readmes_first_command_is_something_to_drink_from():
    said = [next(filter(None, match)) for match in SAID.findall(README.read_text(encoding="utf-8"))]
    assert said[0] == "something to drink from"
    assert set(said) <= set(said_to_the_table()) <= MEANT.keys()


@pytest.mark.parametrize("text", MEANT)
def test_what_is_said_to_the_table_is_answered_as_it_is_meant(text, pipeline, views):
    for view, moment in zip(views, MOMENTS_S, strict=True):
        ids = meaning(MEANT[text], view)
        result = pipeline.ground(Frame(np.ascontiguousarray(view.rgb), 0), Command("it", text))
        assert ids is not None, f"unclear at {moment} s"
        assert len(result.instances) == len(ids), (moment, result.text)
        assert result.code is (Code.OK if ids else Code.NO_TARGET)
        found, meant = result.labels > 0, np.isin(view.labels, ids)
        assert not ids or (found & meant).sum() > 0.5 * (found | meant).sum(), moment
        assert "knows the demo world" not in result.detail, "a caution about the demo world's own picture"


def test_the_table_has_something_to_drink_from_and_no_red_mug(views):
    assert all(len(meaning(MEANT["something to drink from"], view)) == 1 for view in views)
    assert all(meaning(MEANT["the red mug"], view) == () for view in views)


GROUND = sorted(
    {
        line.partition("segzero ground ")[2]
        for path in DOCS
        for line in commands(path)
        if "segzero ground table" in line and "$(" not in line
    }
)


@pytest.mark.parametrize("line", GROUND)
def test_ground_works_as_typed(line, tmp_path, monkeypatch, capsys):
    """On the picture that ships, from the root of the repository; what it finds is the white mug."""
    words = shlex.split(line)
    if "--out" in words:
        words[words.index("--out") + 1] = str(tmp_path / words[words.index("--out") + 1])
    monkeypatch.chdir(ROOT)
    assert main(["ground", *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    x0, y0, x1, y1 = answer["instances"][0]["box"]
    assert (len(answer["instances"]), answer["detail"]) == (1, "")
    assert 225 < (x0 + x1) / 2 < 325 and 260 < (y0 + y1) / 2 < 380, "the mug's place in docs/images/table.jpg"
    assert "--out" not in words or list(tmp_path.iterdir())


def test_the_readme_shows_ground_on_a_picture_that_ships():
    assert any(line.startswith("table ") for line in GROUND)
