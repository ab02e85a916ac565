"""RViz as a process of the launch files: asked for, given this robot's names, and missed by one clear line."""

import pytest

from segzero_ros.ros import processes, views


@pytest.fixture
def installed(tmp_path, monkeypatch):
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rviz2").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")


def test_nobody_gets_rviz_who_does_not_ask():
    assert views.demo(command="the mug") == processes.demo(command="the mug")
    assert views.node(image="/eye") == (processes.node(image="/eye"),)


@pytest.mark.usefixtures("installed")
def test_the_demos_rviz_starts_with_our_file_in_the_frame_of_the_table():
    *rest, rviz = views.demo(rviz="true", namespace="arm")
    assert tuple(rest) == processes.demo(namespace="arm")
    assert (rviz.package, rviz.executable, rviz.namespace) == ("rviz2", "rviz2", "arm")
    assert rviz.arguments == ("-d", str(views.config_path("segzero.rviz")), "-f", "table")
    started = processes.launch_arguments(rviz)
    assert (started["package"], started["namespace"]) == ("rviz2", "arm")


@pytest.mark.usefixtures("installed")
def test_a_camera_of_ones_own_is_moved_with_its_matrix():
    rviz = views.node(rviz="true", fixed_frame="base_link", image="/eye/image", camera_info="/eye/info")[-1]
    assert rviz.remaps == {"image": "/eye/image", "/camera_info": "/eye/info"}
    assert rviz.arguments[-2:] == ("-f", "base_link")


@pytest.mark.usefixtures("installed")
def test_the_cameras_matrix_is_looked_for_in_the_namespace():
    assert views.demo(rviz="true", namespace="arm")[-1].remaps == {"/camera_info": "camera_info"}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("start", [views.node, lambda **given: views.demo(camera="none", **given)])
def test_without_the_demos_camera_a_frame_must_be_named(start):
    with pytest.raises(ValueError, match=r"launch argument fixed_frame: got '', want .*base_link"):
        start(rviz="true")


def test_where_rviz_is_missing_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/nowhere")
    with pytest.raises(ValueError, match=r"rviz2 is not installed; sudo apt install \S+-rviz2 \S+-image-transport-"):
        views.demo(rviz="true")
