"""Live worlds: the same for the same seed, true at every instant, and each scenario does what its name says."""

import math

import numpy as np
import pytest

from segzero_ros.tabletop import TYPES, LiveWorld, TruthLog, demo_script, meaning, read_truth
from segzero_ros.tabletop.arm import LASTS_S
from segzero_ros.tabletop.physics import Physics
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scenarios import AWAY_S, LEAVING_PERIOD_S, SCENARIOS

SMALL = (200, 150)
DEMO_SEED = 9  # its first world will do, so that the search is short


def places(world: LiveWorld, t: float) -> np.ndarray:
    return np.array([thing.position for thing in world.scene_at(t).things])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_world_is_a_function_of_scenario_seed_and_time(scenario) -> None:
    with LiveWorld(scenario, 5, SMALL) as one, LiveWorld(scenario, 5, SMALL) as other:
        for t in (0.0, 0.7, 3.1):
            one.scene_at(t - 0.2 if t else 0.0)
            assert one.scene_at(t) == other.scene_at(t)


def test_a_still_world_is_still() -> None:
    with LiveWorld("still", 2, SMALL) as world:
        assert np.array_equal(places(world, 0.0), places(world, 5.0))
        assert world.scene_at(5.0).camera == world.scene_at(6.0).camera


@pytest.mark.parametrize("seed", range(3))
def test_pushed_things_move_stay_on_the_table_and_stay_apart(seed) -> None:
    with LiveWorld("pushed", seed, SMALL) as world:
        before = places(world, 0.0)
        moved = np.zeros(len(before))
        for t in np.arange(1, 21):
            now = places(world, float(t))
            moved = np.maximum(moved, np.linalg.norm(now - before, axis=1))
            assert np.abs(now).max() < 1.6
            assert (now[:, 2] == 0).all()
        assert moved.max() > 0.05
        assert world.scene_at(20.0).camera == world.scene_at(20.1).camera


def test_an_arm_that_is_asked_for_hides_one_thing_after_the_other_and_is_gone() -> None:
    with LiveWorld("still", 2, SMALL) as world:
        whole = world.step(1.0, rgb=False)
        assert not whole.scene.rods
        world.wave()
        pixels = {thing.id: int((whole.labels == thing.id).sum()) for thing in whole.things}
        views = [world.step(1.0 + LASTS_S * n / 40, rgb=False) for n in range(41)]
        left = {number: [int((view.labels == number).sum()) for view in views] for number in pixels}
        assert all(min(counts) < 0.2 * pixels[number] for number, counts in left.items())
        assert not any(all(counts[n] < pixels[number] for number, counts in left.items()) for n in (0, 40))
        order = sorted(whole.things, key=lambda thing: thing.box[0] + thing.box[2])
        when = [int(np.argmin(left[thing.id])) for thing in order]
        assert when == sorted(when), "from left to right"
        assert not world.scene_at(1.1 + LASTS_S).rods


def test_a_moving_camera_moves_and_keeps_the_things_in_view() -> None:
    with LiveWorld("moving_camera", 3, SMALL) as world:
        count = len(world.scene_at(0.0).things)
        seen = [world.step(float(t), rgb=False) for t in range(0, 17, 2)]
        assert np.array_equal(seen[0].scene.things, seen[-1].scene.things)
        assert math.dist(seen[0].camera.position, seen[2].camera.position) > 0.1
        assert min(len(view.things) for view in seen) >= count - 1


@pytest.mark.parametrize("seed", range(3))
def test_leaving_really_leaves_and_comes_back(seed) -> None:
    with LiveWorld("leaving", seed, SMALL) as world:
        number = world._trip.thing
        leave, out, turn, back = AWAY_S
        views = [world.step(t, rgb=False) for t in (leave, out + 0.7, turn, back + 0.7)]
        assert [number in {t.id for t in view.things} for view in views] == [True, False, False, True]
        again = LEAVING_PERIOD_S + (out + turn) / 2
        assert number not in {t.id for t in world.step(again, rgb=False).things}


def test_a_world_cannot_go_back() -> None:
    with LiveWorld("pushed", 1, SMALL) as world:
        world.scene_at(1.0)
        with pytest.raises(ValueError, match="open a new one"):
            world.scene_at(0.5)


def test_an_unknown_scenario_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'earthquake'.*still, pushed"):
        LiveWorld("earthquake", 1, SMALL)


def test_a_push_goes_as_far_as_friction_lets_it() -> None:
    scene = sample_scene(2, "train", count=2)
    thing = next(t for t in scene.things if t.kind != "ball")
    physics = Physics((thing,), (5.0, 5.0))
    physics.push(thing.id, (0.7, 0.0))
    for _ in range(400):
        physics.step()
    assert physics.position(thing.id)[0] - thing.position[0] == pytest.approx(0.7**2 / (2 * 0.25 * 9.81), rel=0.1)
    assert np.hypot(*physics.velocity(thing.id)) < 1e-3


def test_things_that_meet_do_not_pass_through_each_other() -> None:
    scene = sample_scene(2, "train", count=2)
    a, b = scene.things
    physics = Physics(scene.things, (5.0, 5.0))
    way = np.subtract(b.position, a.position)[:2]
    way /= np.linalg.norm(way)
    physics.push(a.id, (float(2 * way[0]), float(2 * way[1])))
    for _ in range(200):
        physics.step()
    assert math.dist(physics.position(b.id), b.position[:2]) > 0.02


def test_the_truth_of_a_frame_survives_the_disk(tmp_path) -> None:
    with LiveWorld("pushed", 1, SMALL) as world:
        log = TruthLog(tmp_path)
        views = {round(t * 1e9): world.step(t) for t in (0.0, 0.5, 2.0)}
        for stamp, view in views.items():
            log.write(stamp, view)
    for stamp, view in views.items():
        back = read_truth(tmp_path, stamp)
        assert np.array_equal(back.labels, view.labels)
        assert back.scene == view.scene
        assert back.things == view.things
    with pytest.raises(FileNotFoundError):
        read_truth(tmp_path, 12345)


def test_a_new_log_forgets_the_old_one(tmp_path) -> None:
    with LiveWorld("still", 1, SMALL) as world:
        TruthLog(tmp_path).write(1, world.step(0.0))
    TruthLog(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_demo_asks_every_type_and_nothing_twice_and_stays_answerable() -> None:
    script = demo_script(DEMO_SEED, duration_s=30.0)
    assert len(script.commands) >= 12
    assert {command.type for command in script.commands} == set(TYPES)
    assert len({command.query for command in script.commands}) == len(script.commands)
    with LiveWorld(script.scenario, script.seed, SMALL) as world:
        view = world.step(0.0, rgb=False)
        assert [command.targets for command in script.commands] == [meaning(c.query, view) for c in script.commands]
        later = world.step(29.0, rgb=False)
        assert sum(command.targets_in(later) is not None for command in script.commands) >= 10
