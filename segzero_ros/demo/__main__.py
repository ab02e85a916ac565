"""Sends some 15 commands to the real node, which looks through the demo world's camera, and shows each answer.

Three processes over real DDS: the camera, the node, and this one, the commander. Exit status: 0 only if every command
got exactly one answer, 1 otherwise or if a process died, 2 if something is not there, 130 after Ctrl-C.
"""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segzero_ros.bundle import open_named_bundle
from segzero_ros.cli.options import add_bundle_options
from segzero_ros.cli.parser import Parser, at_least, missing, refuse
from segzero_ros.demo.process_group import ProcessDiedError, ProcessGroup, free_domain
from segzero_ros.demo.terminal import print_line, styled
from segzero_ros.errors import RejectedInput
from segzero_ros.ros.processes import Process, Value

if TYPE_CHECKING:
    from segzero_ros.demo.script import Outcome
    from segzero_ros.tabletop import DemoScript

NEEDS = ("rclpy", "segzero_ros.msg", "mujoco", "PIL")
SEED = 64  # of sixteen tables tried the one the demo models do best on; docs/demo-models.md has the others
MOST_SEED = 9999  # each has a hundred worlds, and the camera takes a million
RATE_HZ = 5.0  # a picture costs 45 ms of one core to draw, and the models need the cores
IMAGE_QOS = "reliable"  # where all cores are busy, a best-effort picture (0.9 MB in 15 pieces) seldom comes whole
START_S = 120.0  # for the node to open its engines, on a busy machine
FAILED, INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    options = read_arguments(sys.argv[1:] if arguments is None else arguments)
    absent = missing(NEEDS)
    if absent:
        return refuse("demo", f"needs {', '.join(absent)}; run `make demo`, which brings all of it along")
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job starts with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)  # nothing is left behind
    os.environ.update(surroundings())
    try:
        (options.out / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return refuse("demo", f"could not write below {options.out} ({error.strerror or error}); give another --out")
    try:
        return show(options, checked_bundle(options))
    except RejectedInput as error:
        return refuse("demo", str(error))
    except ProcessDiedError as error:
        print_line(styled(f"\nthe demo ended early: {error}", "red"))
        return FAILED
    except KeyboardInterrupt:
        print_line("\nstopped; all processes of the demo have ended")
        return INTERRUPTED


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = Parser("python -m segzero_ros.demo", (__doc__ or "").splitlines()[0])
    add_bundle_options(parser)
    parser.add_argument("--commands", type=at_least(1), metavar="N", help="send only the first N, and cancel one")
    aloud = "speak the commands aloud, have the listener hear them (`make setup-spoken`, espeak-ng)"
    parser.add_argument("--spoken", action="store_true", help=aloud)
    parser.add_argument(
        "--seed", type=at_least(0, MOST_SEED), default=SEED, help="another seed gives another table and other commands"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo_out"), metavar="DIR", help="where pictures and logs go (demo_out)"
    )
    return parser.parse_args(arguments)


def surroundings() -> dict[str, str]:
    """Return environment variables: a ROS graph nobody else on this machine or network is on; one thread to render.

    Mesa's software renderer would take every core, and the models need them.
    """
    return {
        "ROS_DOMAIN_ID": str(free_domain()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "LP_NUM_THREADS": "1",
    }


def checked_bundle(options: argparse.Namespace) -> str:
    """Return the bundle's path for the node; ``RejectedInput`` for one that it would refuse."""
    if options.backend == "fake":
        return ""
    return str(open_named_bundle(options.bundle).path)


def show(options: argparse.Namespace, bundle: str) -> int:
    """Start everything, send all commands, end everything; then table and pictures."""
    from segzero_ros.demo.report import check_answers, format_outcomes, write_all

    began = time.monotonic()
    domain = os.environ["ROS_DOMAIN_ID"]
    print_line(
        f"{styled('segzero_ros demo', 'bold')}: bundle {options.bundle}, domain {domain}, logs in {options.out}/logs"
    )
    with ProcessGroup(options.out / "logs") as processes:
        world = start_all(options, bundle, processes)
        send = speak_commands if options.spoken else send_commands
        outcomes, unmatched_answers = send(options, world, processes)
    good, sentence = check_answers(outcomes, unmatched_answers)
    print_line("\n" + format_outcomes(outcomes) + "\n")
    print_line(styled(sentence, "bold", "green" if good else "red"))
    files = write_all(outcomes, about(options, world.seed), options.out)
    print_line(f"{time.monotonic() - began:.0f} s in all; look at " + ", ".join(str(path) for path in files))
    return 0 if good else FAILED


def start_all(options: argparse.Namespace, bundle: str, group: ProcessGroup) -> "DemoScript":
    """Start node and camera; return the script for the world that the camera looks at."""
    from segzero_ros.ros import processes
    from segzero_ros.tabletop import demo_script

    node = processes.node(bundle=bundle, backend=options.backend)
    group.start("node", replaced(node, image_qos=IMAGE_QOS).command_line(), os.environ)
    try:
        world = demo_script(options.seed)
    except RuntimeError as error:  # nothing to render with, or no world of this seed will do: the text says which
        raise ProcessDiedError(str(error)) from error
    truth = str(truth_of(options).resolve())
    if options.spoken:
        from segzero_ros.demo.spoken import demo_listener

        group.start("listener", demo_listener().command_line(), os.environ)
    camera = processes.tabletop_camera(scenario=world.scenario, seed=world.seed, truth_dir=truth)
    group.start("camera", replaced(camera, rate=RATE_HZ).command_line(), os.environ)
    return world


def send_commands(
    options: argparse.Namespace, world: "DemoScript", processes: ProcessGroup
) -> "tuple[list[Outcome], int]":
    """Send the script's commands; return the outcome of each, and how many answers match no command."""
    from segzero_ros.demo.script import script
    from segzero_ros.demo.session import Session
    from segzero_ros.ros.client import Client, NoAnswerError

    began = time.monotonic()
    client = Client(frames=True, alive=processes.check)
    try:
        wait_for_both(client, processes)
        print_line(f"camera and node are up after {time.monotonic() - began:.0f} s; the scene moves\n")
        session = Session(client, truth_of(options))
        outcomes = session.run(script(world.commands[: options.commands]))
        unmatched = session.unmatched_answers(outcomes)
        follow_one(options, client, outcomes)
        return outcomes, unmatched
    except NoAnswerError as error:
        raise ProcessDiedError(f"{error}; see {options.out}/logs/node.log") from error
    finally:
        client.close()


def follow_one(options: argparse.Namespace, client: Any, outcomes: "Sequence[Outcome]") -> None:
    """Have one of the things that were found followed for a while, and say how that went."""
    from segzero_ros.demo.follow import follow, sentence, to_follow, write_following

    target = to_follow(outcomes)
    if target is None:
        print_line("\nnothing was found rightly, so nothing is followed")
        return
    text = target.line.instruction.text
    print_line(f"\n{styled(text, 'bold')} is followed now, found once and then carried from frame to frame")
    frames = follow(client, truth_of(options), text)
    print_line(styled(sentence(text, frames), "bold"))
    for path in write_following(text, frames, options.out):
        print_line(f"look at {path}")


def speak_commands(
    options: argparse.Namespace, world: "DemoScript", processes: ProcessGroup
) -> "tuple[list[Outcome], int]":
    """Speak the script's commands; the rest as `send_commands`."""
    from segzero_ros.demo.spoken import SpokenSession, spoken_lines, survivors
    from segzero_ros.ros.client import Client, NoAnswerError
    from segzero_ros.ros.hearing.speaker import Speaker

    client = Client(frames=True, alive=processes.check)
    speaker = Speaker()
    try:
        wait_for_both(client, processes)
        if not client.wait(speaker.is_heard, START_S):
            raise ProcessDiedError("the listener does not listen; see listener.log")
        session = SpokenSession(client, truth_of(options), speaker)
        outcomes = session.run(spoken_lines(world.commands[: options.commands]))
        print_line("\n" + styled(survivors(outcomes, session.spoken), "bold"))
        return outcomes, session.unmatched_answers(outcomes)
    except NoAnswerError as error:
        raise ProcessDiedError(f"{error}; see {options.out}/logs/node.log") from error
    finally:
        speaker.close()
        client.close()


def truth_of(options: argparse.Namespace) -> Path:
    """Return the directory in which the camera leaves the truth of its frames."""
    out: Path = options.out
    return out / "truth"


def replaced(process: Process, **parameters: Value) -> Process:
    """Return the process with these parameters beside its own."""
    return replace(process, parameters={**process.parameters, **parameters})


def wait_for_both(client: Any, processes: ProcessGroup) -> None:
    """Wait for the node's interface and the camera's first picture."""
    client.wait_for_node(START_S)
    client.wait_for_engines(START_S)
    if not client.wait(lambda: len(client.frames) > 0, START_S):
        raise ProcessDiedError("the camera sends no picture; see camera.log")
    processes.check()


def about(options: argparse.Namespace, world_seed: int) -> dict[str, Any]:
    """Return what the demo ran with."""
    machine = f"{platform.machine()} CPU, {os.cpu_count()} cores"
    return {
        "bundle": "none (fake engines)" if options.backend == "fake" else Path(options.bundle).name,
        "backend": options.backend,
        "seed": options.seed,
        "world_seed": world_seed,
        "machine": machine,
    }


if __name__ == "__main__":
    sys.exit(main())
