"""Evaluation samples and training shards."""

import itertools
import json

import numpy as np

from segzero_ros.tabletop import samples
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scene import GRAMMARS, WORLDS
from training.demo_models import render_tabletop
from training.demo_models.recipes import tabletop
from training.demo_models.render_tabletop import main
from training.evaluation import main as evaluation

SIZE = (160, 120)


def test_samples_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    first, again = list(samples("test", 7, 4, SIZE)), list(samples("test", 7, 4, SIZE))
    assert [s.instruction for s in first] == [s.instruction for s in again]
    assert all(np.array_equal(a.view.rgb, b.view.rgb) for a, b in zip(first, again, strict=True))
    assert [s.seed for s in first] != [s.seed for s in samples("test", 8, 4, SIZE)]


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    longer = [s.instruction.text for s in samples("test", 7, 6, SIZE)]
    assert longer[:3] == [s.instruction.text for s in samples("test", 7, 3, SIZE)]


def test_samples_are_counted_and_each_is_of_another_scene() -> None:
    asked = list(itertools.islice(samples("val", 1, 100, SIZE), 10))
    assert [s.index for s in asked] == list(range(10))
    assert len({s.seed for s in asked}) == 10
    assert all(s.instruction.targets_in(s.view) == s.instruction.targets for s in asked)


def test_a_shard_holds_what_its_readers_expect(tmp_path) -> None:
    arguments = ["--out", str(tmp_path), "--split", "val", "--count", "6", "--size", "160", "120"]
    assert main([*arguments, "--shards", "1"]) == 0
    shard = tmp_path / "shard-00000"
    images, labels = np.load(shard / "images.npy"), np.load(shard / "labels.npy")
    scenes = [json.loads(line) for line in (shard / "scenes.jsonl").read_text().splitlines()]
    assert images.shape == (6, 120, 160, 3)
    assert labels.shape == (6, 120, 160)
    assert len(scenes) == 6
    for picture, scene in zip(labels, scenes, strict=True):
        assert scene["split"] == "val"
        assert len(scene["instructions"]) >= 3
        for thing in scene["objects"]:
            rows, columns = np.nonzero(picture == thing["id"])
            x0, _, _, y1 = thing["box"]
            assert round(x0 * 160) == columns.min()
            assert round(y1 * 120) == rows.max() + 1
            x, y = thing["point"]
            assert picture[int(y * 120), int(x * 160)] == thing["id"]


def test_a_shard_of_another_grammar_has_the_same_form_and_other_questions(tmp_path) -> None:
    shards = {}
    for grammar in ("plain", "mixed"):
        main(["--out", str(tmp_path / grammar), "--count", "4", "--size", "160", "120", "--grammar", grammar])
        lines = (tmp_path / grammar / "shard-00000" / "scenes.jsonl").read_text().splitlines()
        shards[grammar] = [json.loads(line) for line in lines]
    assert shards["plain"][0].keys() == shards["mixed"][0].keys()
    assert shards["plain"][0]["instructions"][0].keys() == shards["mixed"][0]["instructions"][0].keys()
    texts = {name: {i["text"] for s in scenes for i in s["instructions"]} for name, scenes in shards.items()}
    assert texts["mixed"] - texts["plain"]


def test_a_shard_says_which_world_it_is_of_and_who_is_in_on_or_under_whom(tmp_path) -> None:
    for world in WORLDS:
        main(["--out", str(tmp_path / world), "--count", "6", "--size", "160", "120", "--world", world])
    lines = {w: (tmp_path / w / "shard-00000" / "scenes.jsonl").read_text().splitlines() for w in WORLDS}
    simple, rich = ([json.loads(line) for line in lines[world]] for world in WORLDS)
    assert not any("world" in scene for scene in simple), "shards of the simple world are as they always were"
    assert {scene["world"] for scene in rich} == {"rich"}
    for scene in rich:
        assert scene["relations"] == [
            {"id": r.subject, "how": r.how, "of": r.anchor}
            for r in sample_scene(scene["seed"], "train", world="rich").relations
        ]
    assert any(scene["relations"] for scene in rich)


def test_rich_samples_are_the_same_for_the_same_seed() -> None:
    first, again = (list(samples("test", 7, 3, (160, 120), world="rich")) for _ in range(2))
    assert [s.instruction for s in first] == [s.instruction for s in again]
    assert {s.view.scene.world for s in first} == {"rich"}


def test_rendering_goes_on_where_it_stopped(tmp_path) -> None:
    arguments = ["--out", str(tmp_path), "--count", "2", "--size", "64", "48"]
    main([*arguments, "--shards", "1"])
    before = (tmp_path / "shard-00000" / "scenes.jsonl").stat().st_mtime_ns
    main([*arguments, "--shards", "2"])
    assert (tmp_path / "shard-00000" / "scenes.jsonl").stat().st_mtime_ns == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shard-00000", "shard-00001"]


def test_the_command_lines_offer_every_grammar_and_world() -> None:
    assert tabletop.GRAMMARS == GRAMMARS
    assert tabletop.WORLDS == evaluation.WORLDS == WORLDS


def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_shard(tmp_path, monkeypatch, capsys) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(render_tabletop.np, "save", full)
    arguments = ["--out", str(tmp_path), "--shards", "1", "--count", "1", "--size", "64", "48"]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said and "make room" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert main(arguments) == 0
    assert {file.name for file in (tmp_path / "shard-00000").iterdir()} == {"images.npy", "labels.npy", "scenes.jsonl"}
