"""The life cycle: what each state does with frames and commands, and how a node recovers from faults."""

from dataclasses import asdict

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from segzero_ros.backends.fake import HangingReasoner, WaitingReasoner
from segzero_ros.config import NodeConfig
from segzero_ros.errors import Code, RejectedInput
from tests.ros.robot import picture


def test_the_whole_cycle_by_the_lifecycle_services(make_robot):
    robot = make_robot(autostart=False).is_("unconfigured")
    for _ in range(2):
        assert robot.change_state("configure")
        robot.is_("inactive")
        assert robot.change_state("activate")
        robot.is_("active")
        robot.publish_image()
        robot.send_command("the mug")
        robot.until(lambda: robot.answers and robot.answers[-1].code == Code.OK, "the answer")
        robot.answers.clear()
        assert robot.change_state("deactivate")
        robot.is_("inactive")
        assert robot.change_state("cleanup")
        robot.is_("unconfigured")
    assert robot.change_state("unconfigured_shutdown")
    robot.is_("finalized")


def test_invalid_transitions_are_refused_and_the_node_lives_on(make_robot):
    robot = make_robot(autostart=False).is_("unconfigured")
    for transition in ("activate", "deactivate", "cleanup", "activate"):
        assert not robot.change_state(transition)
    assert robot.change_state("configure")
    assert not robot.change_state("configure")
    robot.is_("inactive")


def test_frames_are_ignored_and_counted_while_inactive(make_robot):
    robot = make_robot(first_frame_sec=0.0).is_("active")
    assert robot.enable(False).success
    robot.is_("inactive")
    for _ in range(3):
        robot.publish_image()
    values = {pair.key: pair.value for pair in robot.diagnostics()["node"].values}
    assert values["images_ignored_while_inactive"] == "3"
    assert robot.enable(True).success
    robot.send_command("the mug")
    assert robot.answer().code == Code.NO_FRAME, "a frame from before must not be looked at"


@pytest.mark.parametrize("autostart", [False, True])
def test_a_command_to_a_node_that_is_not_active_says_what_to_do(make_robot, autostart):
    robot = make_robot(autostart=autostart)
    if autostart:
        robot.is_("active")
        robot.enable(False)
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, answer.command) == (Code.NOT_ACTIVE, "the mug")
    assert "enable" in answer.detail


def test_deactivating_ends_the_work_and_keeps_the_engines(make_robot):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner, faults=[]).is_("active")
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    assert robot.enable(False).success
    reasoner.go(20_000)
    assert robot.answer().code == Code.CANCELLED
    assert robot.enable(True).success
    robot.publish_image()
    robot.send_command("the bowl")
    assert robot.answer(2).code == Code.OK
    assert len(reasoner.commands) == 2


def test_a_bundle_that_cannot_be_opened_leaves_the_node_up_until_it_is_mended(make_robot):
    fault = RejectedInput(Code.BUNDLE_ALTERED, "got 3 bytes in model.onnx, want 4; copy the bundle again")
    robot = make_robot(faults=[fault, fault]).is_("unconfigured")
    status = robot.until(
        lambda: next((s for s in [robot.diagnostics()["node"]] if s.level == DiagnosticStatus.ERROR), None), "the error"
    )
    assert status.message == str(fault)
    robot.send_command("the mug")
    answer = robot.answer(1)
    assert answer.code == Code.NOT_ACTIVE
    assert "BUNDLE_ALTERED" in answer.detail
    reply = robot.enable(True)
    assert (reply.success, reply.message) == (False, str(fault))
    assert robot.enable(True).success, "the fault is gone"
    robot.is_("active").publish_image()
    robot.send_command("the mug")
    assert robot.answer(2).code == Code.OK
    assert robot.diagnostics()["node"].level == DiagnosticStatus.OK


def test_a_defect_while_configuring_is_logged_and_can_be_tried_again(make_robot):
    robot = make_robot(faults=[ZeroDivisionError("oops")], autostart=False)
    assert not robot.change_state("configure")
    assert robot.diagnostics()["node"].message.startswith("INTERNAL: configure: ZeroDivisionError: oops")
    assert robot.change_state("configure")


def test_a_real_bundle_that_is_missing_is_named_with_what_to_do(ros):
    from segzero_ros.host.start import NodeConfig, open_here

    with pytest.raises(RejectedInput, match="nosuchbundle") as refused:
        open_here(NodeConfig(bundle="nosuchbundle"))
    assert refused.value.code == Code.BUNDLE_MISSING


def test_the_fake_backend_needs_no_bundle(ros):
    from segzero_ros.host.start import NodeConfig, open_here

    name, pipeline = open_here(NodeConfig(bundle="nosuchbundle", backend="fake"))
    assert (name, pipeline.profile.name) == ("fake", "abstaining_v2")


def test_every_option_of_the_engines_comes_from_its_parameter(ros):
    from segzero_ros.host.start import NodeConfig, engine_options

    changed = {"threads": 3, "constrained": False, "draft_tokens": 2, "provider": "cuda", "engine_dir": "/engines"}
    changed |= {"model": "m", "server": "http://s", "fallback": False, "encode_ahead": False}
    config = NodeConfig(**changed, server_timeout_sec=7.0)
    assert asdict(engine_options(config)) == changed | {"server_timeout_s": 7.0}


def test_a_configure_reads_the_parameters_once_and_nothing_later_reads_them_anew(make_robot, monkeypatch):
    made = []
    check = NodeConfig.__post_init__
    monkeypatch.setattr(NodeConfig, "__post_init__", lambda config: (made.append(config), check(config))[1])
    robot = make_robot(autostart=False).is_("unconfigured")
    made.clear()
    assert robot.change_state("configure")
    assert robot.change_state("activate")
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer(1).code == Code.OK
    assert robot.goal_result("the mug")[1].code == Code.OK
    robot.diagnostics()
    assert len(made) == 1


def test_a_hanging_engine_does_not_hold_up_cleanup(make_robot):
    reasoner = HangingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    assert robot.change_state("deactivate")
    assert robot.change_state("cleanup")
    assert robot.answer().code == Code.CANCELLED
    reasoner.release.set()


def test_a_silent_camera_is_complained_of_once_the_first_frame_is_overdue(make_robot, capfd):
    robot = make_robot(first_frame_sec=0.0).is_("active")
    for _ in range(3):
        assert "no frame yet" in robot.diagnostics()["camera"].message
    assert capfd.readouterr().err.count("no frame yet") == 1


def test_twenty_cycles_leave_no_thread_and_no_topic_behind(make_robot):
    import threading

    robot = make_robot(autostart=False)
    assert robot.enable(True).success
    threads, topics = threading.active_count(), len(robot.node.get_topic_names_and_types())
    for _ in range(20):
        robot.node.trigger_deactivate()
        robot.node.trigger_cleanup()
        robot.node.trigger_configure()
        robot.node.trigger_activate()
    assert threading.active_count() == threads
    assert len(robot.node.get_topic_names_and_types()) == topics
    robot.publish_image(picture())
    robot.send_command("the mug")
    assert robot.answer().code == Code.OK
