"""The part of try_install.sh inside the root: stands ROS 2 in, then follows docs/getting-started.md as a user.

    try_install.py PYTHON [PACKAGE...]

Steps: wheels of ROS 2 into /opt/ros/jazzy, beside the packages of PYTHON; colcon build; `segzero engines install cpu`;
a camera that publishes the shipped picture; the node; a command by its action. Each is printed with its seconds; the
first that fails ends it with status 1 and its output. /opt/ros/jazzy of an earlier trial in the root is kept.
"""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
ROS = Path("/opt/ros/jazzy")
HOME = Path("/home/robot")
WORKSPACE = HOME / "ros2_ws"
USER = "robot"
QUESTION = "the mug left of the yellow ball"
LIBRARY = WORKSPACE / "install" / "segzero_ros" / "lib" / "segzero_ros"
ABOUT_PYTHON = """
import sys, numpy, cv2
print("Python", sys.version.split()[0], "NumPy", numpy.__version__, "OpenCV", cv2.__version__)
"""
NO_ENGINES = "import importlib.util as u; print([m for m in ('onnxruntime', 'tokenizers', 'torch') if u.find_spec(m)])"


def main(arguments: list[str]) -> int:
    """Do all steps; return the exit status."""
    python, *packages = arguments
    try:
        stand_in_for_ros(python, packages)
        make_user()
        robot(["colcon", "build", "--packages-select", "segzero_ros"], "colcon build", cwd=WORKSPACE)
        robot(["python3", "-c", ABOUT_PYTHON], "ROS 2's Python", show=True)
        if "[]" not in robot(["python3", "-c", NO_ENGINES], "no engine in ROS 2's Python"):
            raise Failed("ROS 2's Python has engines of its own: the trial proves nothing")
        robot([str(LIBRARY / "segzero"), "engines", "install", "cpu"], "segzero engines install cpu", show=True)
        robot([str(LIBRARY / "segzero"), "engines", "install", "cpu"], "the same again", show=True)
        robot([str(LIBRARY / "segzero"), "engines", "list"], "segzero engines list", show=True)
        bring_up()
    except Failed as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    print("every step passed")
    return 0


class Failed(Exception):
    """A step failed; the text says which, and how it ended."""


# ---- the distribution's part, as root ----


def stand_in_for_ros(python: str, packages: list[str]) -> None:
    """Make /opt/ros/jazzy of the wheels, with NumPy and OpenCV of PYTHON's own packages, and a setup.bash."""
    if packages:
        run(
            [python, "-m", "pip", "install", "--quiet", "--root-user-action=ignore", *packages],
            "its distribution's packages",
        )
    if (ROS / "setup.bash").exists():
        return  # of an earlier trial in this root
    shutil.rmtree(ROS, ignore_errors=True)
    run([python, "-m", "venv", "--system-site-packages", str(ROS)], "a prefix for ROS 2")
    pins = (SOURCE / "requirements" / "constraints.txt").read_text(encoding="utf-8")
    constraints = ROS / "constraints.txt"
    # The rest is the distribution's own, or needs a newer Python than Humble's.
    ours = re.findall(r"^(?:ros-|setuptools=|empy|lark-parser).*\n", pins, flags=re.MULTILINE)
    constraints.write_text("".join(ours), encoding="utf-8")
    wanted = ROS / "requirements.txt"
    files = [(SOURCE / "requirements" / f"{name}.txt").read_text(encoding="utf-8") for name in ("ros", "build")]
    wanted.write_text("".join(files).replace("-c constraints.txt\n", ""), encoding="utf-8")
    pip = [str(ROS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "-c", str(constraints), "-r", str(wanted)], "ROS 2 as wheels, colcon")
    run([str(ROS / "bin" / "python"), str(SOURCE / "tools" / "mend_ros_wheels.py")], "the wheels' CMake files")
    sys.path.insert(0, str(SOURCE / "tools"))
    import ros_env

    variables = ros_env.ros_environment(str(ROS), {"PATH": os.environ["PATH"]})
    lines = [f"export {name}={value!r}" for name, value in variables.items()]
    modules = next(ROS.glob("lib/python3.*/site-packages"))
    lines += [f"export CMAKE_PREFIX_PATH={str(ROS)!r}", f"export PYTHONPATH={str(modules)!r}"]
    (ROS / "setup.bash").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_user() -> None:
    """Make the robot's user with a workspace that holds this package."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        run(["useradd", "--create-home", "--home-dir", str(HOME), USER], "the robot's user")
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    shutil.rmtree(HOME / ".local", ignore_errors=True)
    shutil.copytree(SOURCE, WORKSPACE / "src" / "segzero_ros")
    run(["chown", "-R", f"{USER}:{USER}", str(HOME)], "its home")


# ---- the user's part ----


def user_environment() -> Mapping[str, str]:
    """What a login shell of the user has after `source setup.bash`, of ROS 2 and, once built, of the workspace."""
    files = [str(ROS / "setup.bash"), str(WORKSPACE / "install" / "setup.bash")]
    sourcing = "; ".join(f"[ ! -e {file} ] || . {file}" for file in files)
    runtime = Path("/run/user/robot")
    runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.chown(runtime, USER, USER)
    start = {
        "HOME": str(HOME), "USER": USER, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(runtime), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": "77",
    }  # fmt: skip
    script = ROS / "environment.sh"
    script.write_text(f"{sourcing}\nenv -0\n", encoding="utf-8")
    done = subprocess.run(["bash", str(script)], env=start, capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)


def robot(command: list[str], what: str, cwd: Path = HOME, show: bool = False) -> str:
    """Run a command as the user, in the user's environment; return what it wrote."""
    return run(command, what, environ=user_environment(), user=USER, cwd=cwd, show=show)


def bring_up() -> None:
    """Start camera and node, give a command, and end both as Ctrl-C does."""
    environ = user_environment()
    picture = WORKSPACE / "src" / "segzero_ros" / "docs" / "images" / "table.jpg"
    camera = start(["python3", str(SOURCE / "tools" / "still_camera.py"), str(picture)], "camera", environ)
    node = start([str(LIBRARY / "segzero_node"), "--ros-args", "-p", "bundle:=tabletop"], "node", environ)
    try:
        say = [str(LIBRARY / "segzero"), "say", QUESTION, "--wait", "60", "--timeout", "60", "--json"]
        try:
            answers = [json.loads(robot(say, what).splitlines()[-1]) for what in ("a command", "another")]
        except Failed:
            print((HOME / "node.log").read_text(encoding="utf-8")[-6000:])
            raise
        for answer in answers:
            print(f"  {answer['code']}: {answer['instances'][0]['box']}, {answer['timing']['total_ms']:.0f} ms")
            if answer["code"] != "OK":
                raise Failed(f"the command was answered {answer['code']}: {answer['detail']}")
        memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{node.pid}/status").read_text(encoding="utf-8"))
        print(f"  the node's process: {int(memory.group(1)) / 1024 if memory else 0:.0f} MB")
    finally:
        statuses = {name: stop(process) for name, process in (("node", node), ("camera", camera))}
    print(f"  ended by SIGINT with {statuses}")
    if statuses["node"]:
        raise Failed(f"the node ended with {statuses['node']}, want 0")


def start(command: list[str], name: str, environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a process of the user whose output goes into a file."""
    who = {"user": USER, "group": USER, "cwd": HOME, "env": environ}
    with (HOME / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **who)


def stop(process: "subprocess.Popen[bytes]") -> int:
    """End a process as Ctrl-C does; return its status."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def run(
    command: list[str], what: str, *, environ: Mapping[str, str] | None = None, user: str | None = None,
    cwd: Path | None = None, show: bool = False,
) -> str:  # fmt: skip
    """Run a command, print what it is and its seconds; return what it wrote, or raise ``Failed`` with the end of it."""
    begin = time.monotonic()
    who = {"user": user, "group": user, "cwd": cwd, "env": environ}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **who)
    print(f"{time.monotonic() - begin:7.1f} s  {what}", flush=True)
    if show or done.returncode:
        print("".join(f"           {line}\n" for line in done.stdout.splitlines()[-40:]), end="", flush=True)
    if done.returncode:
        raise Failed(f"{what}: status {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
