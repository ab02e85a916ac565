"""The doctor says what is wrong and what to do, without a traceback; its status tells whether a node would work."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from segzero_ros.bundle import open_named_bundle, resolve_bundle
from segzero_ros.demo.process_group import free_domain
from segzero_ros.doctor import engines, machine, ros
from segzero_ros.doctor.finding import Finding
from segzero_ros.engines.environment import Environment
from segzero_ros.host.sockets import listen


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "segzero_ros.cli", "doctor", *words]
    env = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_on_a_machine_that_works_everything_is_said_and_the_whole_way_is_tried():
    done = doctor("--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert not [one for one in found if one["level"] == "fail"]
    names = {one["name"] for one in found}
    assert {"package", "machine", "memory", "disk", "gpu", "shared memory", "host", "bundle", "environment"} <= names
    assert [one["what"] for one in found if one["name"] == "backend" and one["level"] == "ok"] == [
        "onnx is taken: the fastest that can run here"
    ]
    assert found[-1]["name"] == "whole way"
    assert "reasoner onnx" in found[-1]["what"]


def test_a_bundle_that_was_changed_fails_with_what_to_do(tmp_path):
    shutil.copytree(resolve_bundle("tabletop"), tmp_path / "mine")
    graph = next((tmp_path / "mine").glob("**/*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])
    done = doctor("--bundle", str(tmp_path / "mine"))
    assert done.returncode == 1
    assert "fail  bundle" in done.stdout
    assert "BUNDLE_ALTERED" in done.stdout
    assert "1 things do not work" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_domain_that_is_none_fails_by_name():
    assert ros.domain("233").level == ros.domain("x\n").level == "fail"
    assert ros.domain("0").level == "ok"


@pytest.mark.parametrize(("distribution", "level"), [("jazzy", "ok"), ("", "ok"), ("foxy", "warn")])
def test_a_distribution_that_nobody_tried_is_a_warning(distribution, level):
    assert ros.installation(distribution).level == level


def test_without_ros_there_is_one_note(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    found = list(ros.examine())
    assert [one.level for one in found] == ["note"]
    assert "setup.bash" in found[0].advice


def test_messages_that_are_not_built_fail_with_how_to_build_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "segzero_ros.msg" else object())
    assert (ros.messages().level, "colcon build" in ros.messages().advice) == ("fail", True)


@pytest.mark.parametrize(
    ("program", "why"), [("raise SystemExit('no dds')", "no dds"), ("import time; time.sleep(9)", "")]
)
def test_ros_that_does_not_start_fails(monkeypatch, tmp_path, program, why):
    (tmp_path / "probe_of_a_test.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(ros, "PROBE", "probe_of_a_test")
    monkeypatch.setattr(ros, "DISCOVERY_S", 2.0)
    assert (ros.discovery().level, why in ros.discovery().what) == ("fail", True)


def test_a_grounding_node_that_runs_is_named(monkeypatch):
    pytest.importorskip("rclpy", reason="needs ROS 2")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain()))
    node = "import rclpy; rclpy.init(); node = rclpy.create_node('segzero', namespace='/arm'); rclpy.spin(node)"
    assert "no grounding node" in ros.discovery().what
    running = subprocess.Popen([sys.executable, "-c", node])
    try:
        assert any("/arm/segzero" in ros.discovery().what for _ in range(5)), "it may still be starting"
    finally:
        running.kill()
        running.wait()


def test_nodes_that_do_not_meet_fail_with_where_to_look(monkeypatch, tmp_path):
    (tmp_path / "probe_of_a_test.py").write_text("""print('noise\\n{"found": false, "ms": 1, "nodes": []}')""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(ros, "PROBE", "probe_of_a_test")
    assert (ros.discovery().level, "multicast" in ros.discovery().advice) == ("fail", True)


@pytest.mark.parametrize(("available", "level"), [(8 << 30, "ok"), (100 << 20, "warn")])
def test_memory_is_held_against_what_the_bundle_needs(available, level):
    assert machine.memory(available, 10 << 20).level == level
    assert machine.memory(available, 100 << 30).level == "warn"


def test_a_disk_that_is_full_or_closed_is_a_warning(monkeypatch, tmp_path):
    assert machine.disk(tmp_path / "not" / "there").name == "disk"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    assert machine.disk(tmp_path).level == "warn"


def test_a_driver_that_does_not_answer_is_a_warning_and_none_a_note(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho Failed to initialize NVML: Driver/library version mismatch >&2; exit 18\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (machine.gpu().level, "mismatch" in machine.gpu().what) == ("warn", True)
    tool.write_text("#!/bin/sh\necho NVIDIA RTX 4000, 595.1, 20480 MiB, 8.9\n")
    assert machine.gpu() == Finding("ok", "gpu", "NVIDIA RTX 4000, 595.1, 20480 MiB, 8.9")
    tool.unlink()
    assert machine.gpu().level == "note"


def test_shared_memory_that_a_sandbox_forbids_fails_with_a_way_around(monkeypatch):
    def forbidden(*_: object) -> int:
        raise PermissionError("Operation not permitted")

    assert machine.shared_memory().level == "ok"
    monkeypatch.setattr(os, "memfd_create", forbidden)
    assert (machine.shared_memory().level, "in_process" in machine.shared_memory().advice) == ("fail", True)


def test_a_host_that_listens_is_found_and_a_dead_socket_is_named(tmp_path):
    path = tmp_path / "host.sock"
    assert machine.host_socket(path).level == "ok"
    with listen(path):
        assert f"host:={path}" in machine.host_socket(path).what
    assert (machine.host_socket(path).level, str(path) in machine.host_socket(path).advice) == ("warn", True)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        assert machine.host_socket(path).level == "warn"


def test_an_environment_whose_python_is_broken_fails_with_how_to_make_it_again(tmp_path):
    python = tmp_path / "cpu" / "bin" / "python"
    python.parent.mkdir(parents=True)
    bundle = open_named_bundle("tabletop")
    for program, words in (("#!/bin/sh\necho boom >&2; exit 1\n", "boom"), ("not a program", "does not answer")):
        python.write_text(program)
        python.chmod(0o755)
        (found,) = engines.backends(Environment(python, "cpu", complete=True), bundle)
        assert (found.level, found.advice) == ("fail", "segzero engines install cpu")
        assert words in found.what
    tried = engines.try_out(Environment(Path("/nonexistent/python"), "cpu", complete=True), bundle, "auto")
    assert (tried.level, "HOST_UNUSABLE" in tried.what) == ("fail", True)
