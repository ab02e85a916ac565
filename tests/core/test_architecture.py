"""The arrows of the design hold: the core imports no ROS and no engine, and nothing runs what it reads."""

import ast
import collections
import functools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.core.source_dangers import dangers

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "segzero_ros"
SOURCES = sorted(
    file
    for folder in ("segzero_ros", "export", "training", "bench", "launch", "scripts", "tools")
    for file in ROOT.glob(f"{folder}/**/*.py")
)
CORE = [
    *("answer", "bundle", "command", "config", "errors", "frame", "health", "matching", "overlay"),
    *("pipeline", "profile", "reasoner", "segmenter", "worker"),
]
OFFLINE = {"torch", "transformers", "torchvision", "trl", "datasets", "accelerate"}
ENGINES = {"onnxruntime", "onnx", "tensorrt", "tensorrt_llm", "tokenizers"}
ROS = {"rclpy", "sensor_msgs", "std_msgs", "geometry_msgs", "vision_msgs", "diagnostic_msgs", "action_msgs", "launch"}
ALLOWED = {"__future__", *sys.stdlib_module_names, "numpy", "cv2", "segzero_ros"}


@functools.cache
def imports(file: Path) -> tuple[str, ...]:
    """Every module that ``file`` imports anywhere, in full."""
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return *plain, *(node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0)


def roots(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


@pytest.mark.parametrize("name", CORE)
def test_the_core_needs_numpy_and_opencv_only(name: str) -> None:
    assert roots(PACKAGE / f"{name}.py") <= ALLOWED


@pytest.mark.parametrize("name", [name for name in CORE if name != "bundle"])
def test_the_core_imports_no_backend_but_where_a_bundle_is_opened(name: str) -> None:
    outward = ("segzero_ros.ros", "segzero_ros.backends", "segzero_ros.tabletop", "segzero_ros.cli.main")
    assert not [module for module in imports(PACKAGE / f"{name}.py") if module.startswith(outward)]


def test_only_ros_imports_ros_and_only_backends_import_engines() -> None:
    for file in PACKAGE.glob("**/*.py"):
        inside = file.relative_to(PACKAGE).parts[0]
        assert not roots(file) & OFFLINE or file.is_relative_to(PACKAGE / "backends" / "torch_cuda"), file
        if inside != "backends":
            assert not roots(file) & ENGINES, file
        if inside in {"backends", "tabletop"} or inside.removesuffix(".py") in CORE:
            assert not roots(file) & ROS or inside == "tabletop", file
        if inside != "tabletop":
            assert "mujoco" not in roots(file), file


MOST_FILES = 15  # in one folder: what a stranger takes in at a glance
DOWNWARD = {  # what each part must not import
    "segzero_ros": ("export", "training", "bench", "tools", "tests"),
    "export": ("training", "bench", "tools", "tests"),
    "training": ("bench", "tools", "tests"),
    "bench": ("tools", "tests"),
}


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    files = [file for top in DOWNWARD for file in ROOT.glob(f"{top}/**/*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported_modules(file: Path, known: Mapping[str, Path]) -> set[str]:
    """Our modules that ``file`` imports anywhere; of ``from package import module`` that is the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= submodules & known.keys() or {node.module or ""}
    return found & known.keys()


def rings(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Every set of modules that lead back to themselves: what is left when no leaf and no root can be taken away."""
    left = {name: set(others) - {name} for name, others in graph.items()}
    while True:
        asked = set().union(*left.values()) if left else set()
        ends = [name for name, others in left.items() if not others & left.keys() or name not in asked]
        if not ends:
            return [sorted(left)] if left else []
        for name in ends:
            del left[name]


def test_no_modules_import_each_other_in_a_ring() -> None:
    known = modules()
    assert rings({name: imported_modules(file, known) for name, file in known.items()}) == []


def test_the_search_for_rings_finds_one() -> None:
    assert rings({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}) == [["b", "c"]]
    assert rings({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("top", DOWNWARD)
def test_imports_go_one_way(top: str) -> None:
    upward = {
        str(file.relative_to(ROOT)): sorted(roots(file) & set(DOWNWARD[top]))
        for file in ROOT.glob(f"{top}/**/*.py")
        if roots(file) & set(DOWNWARD[top])
    }
    assert upward == {}


def test_no_folder_has_more_files_than_one_takes_in() -> None:
    folders = collections.Counter(
        str(file.parent.relative_to(ROOT)) for file in [*SOURCES, *ROOT.glob("tests/**/*.py")]
    )
    assert {name: count for name, count in folders.items() if count > MOST_FILES} == {}


def test_backends_import_nothing_of_the_command_line_and_commands_nothing_of_each_other() -> None:
    """What several of them need is in cli/{options,output,parser}.py, and lives below both."""
    known = modules()
    commands = {f"segzero_ros.cli.{name}" for name in ("ground", "say", "bundle", "engines", "serve", "train")}
    for name, file in known.items():
        ours = imported_modules(file, known)
        assert not ours & commands or name == "segzero_ros.cli.main", file
        assert not name.startswith("segzero_ros.backends") or not any(n.startswith("segzero_ros.cli") for n in ours)


MOST_LINES = 60  # of a function, its docstring included


def long_functions(file: Path) -> list[str]:
    """Every function of ``file`` that is longer than one page."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, functions)]
    lengths = {f"{file.name}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1 for node in nodes}
    return [name for name, length in lengths.items() if length > MOST_LINES]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_function_is_longer_than_a_page(file: Path) -> None:
    assert long_functions(file) == []


@pytest.mark.parametrize(("lines", "found"), [(60, 0), (61, 1)])
def test_the_search_for_long_functions_finds_one(lines: int, found: int, tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("class A:\n    async def f(self):\n" + "        x = 1\n" * (lines - 1))
    assert len(long_functions(tmp_path / "long.py")) == found


OF_AN_OPENED_BUNDLE = "onnx.load without load_external_data=False"  # open_bundle has seen that its data is listed
ALLOWED_DANGERS = {
    "bench/checkpoint_of_bundle.py": OF_AN_OPENED_BUNDLE,
    "export/quantise.py": OF_AN_OPENED_BUNDLE,
    "tools/machine.py": "ctypes.CDLL",  # asks the loader for names that are written there
    "tools/ros_env.py": "os.execve",  # this very interpreter with its own words
}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_runs_what_it_reads(file: Path) -> None:
    allowed = ALLOWED_DANGERS.get(str(file.relative_to(ROOT)))
    assert [danger for danger in dangers(file) if danger.rpartition(": ")[2] != allowed] == []


ANYWHERE = ".".join("0000")


@pytest.mark.parametrize(
    "line",
    [
        "eval(x)",
        "exec(x)",
        "compile(x, 'f', 'exec')",
        "__import__(x)",
        "import pickle",
        "from pickle import loads",
        "import _pickle as p",
        "import jsonpickle",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "from torch import load\nload(x)",
        "import torch as t\nt.load(x)",
        "torch.hub.load('a/b', 'c')",
        "torch.jit.load(x)",
        "torch.ops.load_library(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=1)",
        "subprocess.run(x, **{'shell': True})",
        "subprocess.Popen(['sh', '-c', x])",
        "subprocess.run(['/bin/bash', '-lc', x])",
        "subprocess.getoutput(x)",
        "from subprocess import getstatusoutput as g\ng(x)",
        "asyncio.create_subprocess_shell(x)",
        "from asyncio import create_subprocess_shell\ncreate_subprocess_shell(x)",
        "await_me = asyncio.subprocess.create_subprocess_shell(x)",
        "loop.subprocess_shell(p, x)",
        "M.from_pretrained(x, trust_remote_code=True)",
        "M.from_pretrained(x, trust_remote_code=flag)",
        "options = {'trust_remote_code': True}",
        "yaml.load(x)",
        "yaml.load(x, Loader=yaml.Loader)",
        "yaml.unsafe_load(x)",
        "yaml.full_load(x)",
        "from yaml import unsafe_load\nunsafe_load(x)",
        "np.load(x, allow_pickle=True)",
        "import numpy as np\nnp.load(x, None, True)",
        "joblib.load(x)",
        "import joblib as j\nj.load(x)",
        "pandas.read_pickle(x)",
        "importlib.import_module('pickle').loads(x)",
        "onnx.load(x)",
        "onnx.load(x, load_external_data=True)",
        "onnx.load_model(x)",
        "from onnx import load\nload(x)",
        "onnx.external_data_helper.load_external_data_for_model(m, d)",
        "shutil.unpack_archive(x)",
        "from shutil import unpack_archive as u\nu(x)",
        "tarfile.open(x).extractall(d)",
        "zipfile.ZipFile(x).extractall(d)",
        "ctypes.CDLL(x)",
        "from ctypes import CDLL\nCDLL(x)",
        "ctypes.cdll.LoadLibrary(x)",
        "ctypes.PyDLL(x)",
        "ffi.dlopen(x)",
        "os.system(x)",
        "os.popen(x)",
        "from os import system\nsystem(x)",
        "from os import system as s\ns(x)",
        "import os as o\no.system(x)",
        "run = os.system\nrun(x)",
        "from os import system",
        "from ctypes import CDLL as load",
        "os.execv(x, a)",
        "os.execlp(x, a)",
        "os.execvpe(x, a, e)",
        "os.spawnl(os.P_WAIT, x)",
        "os.posix_spawn(x, a, e)",
        "pty.spawn(x)",
        "runpy.run_path(x)",
        "getattr(builtins, 'eval')(x)",
        "getattr(os, 'system')(x)",
        "builtins.exec(x)",
        "import builtins as b\nb.eval(x)",
        "__builtins__['eval'](x)",
        "vars(os)['system'](x)",
        "os.__dict__['system'](x)",
        "__builtins__.eval(x)",
        "importlib.util.spec_from_file_location('m', x)",
        "ssl._create_unverified_context()",
        f"bind('{ANYWHERE}')",
        f"host = '{ANYWHERE}'",
        f"url = 'http://{ANYWHERE}:8000/v1'",
        f"serve('{ANYWHERE}:80')",
        "s.bind(('', 80))",
        "host = '::'",
        "s.bind(('::', 80))",
        "listen('[::]:80')",
        "socket.create_server(('', 80))",
        "asyncio.start_server(f, None, 80)",
        "asyncio.start_server(f, '', 80)",
        "loop.create_server(f, None, 80)",
        "HTTPServer(('', 80), H)",
        "http.server.ThreadingHTTPServer(('', 80), H)",
        "uvicorn.run(app, host='')",
        "uvicorn.Config(app, host=None)",
        "zmq.bind('tcp://*:5555')",
        "s.bind((socket.INADDR_ANY, 80))",
        "host = '0:0:0:0:0:0:0:0'",
        "asyncio.start_server(f, '0', 80)",
        "context.verify_mode = ssl.CERT_NONE",
        "context.check_hostname = False",
        "requests.get(url, verify=False)",
        "from multiprocessing.connection import Listener",
        "from multiprocessing import managers",
        "import multiprocessing.connection as c",
        "os.chmod(path, 0o777)",
        "path.chmod(0o666)",
        "os.umask(0)",
    ],
)
def test_the_search_for_dangers_finds_each(line: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(line)
    assert len(list(dangers(tmp_path / "bad.py"))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "re.compile(x)",
        "model.eval()",
        "torch.load(x, weights_only=True)",
        "onnx.load(x, load_external_data=False)",
        "subprocess.run([x], shell=False)",
        "np.load(x, allow_pickle=False)",
        "yaml.safe_load(x)",
        "ctypes.CDLL(None)",
        "s.bind(('127.0.0.1', 0))",
        "version = '10.0.0.0'",
        f'"""Never {ANYWHERE}."""',
        "'a::b'.split('::b')",
        "getattr(config, 'name')",
        "subprocess.run(['ls', '-c'])",
        "importlib.import_module('json')",
        "x = 0",
        "path.chmod(0o600)",
        "os.umask(0o077)",
        "from multiprocessing import shared_memory",
        "requests.get(url, verify=chain)",
        "zip(('', 1), y)",
    ],
)
def test_the_search_for_dangers_lets_the_rest_be(line: str, tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(line)
    assert list(dangers(tmp_path / "good.py")) == []


def test_importing_the_core_loads_no_engine_no_ros_and_no_torch() -> None:
    modules = ", ".join(f"segzero_ros.{name}" for name in [*CORE, "backends.fake"])
    program = f"import sys, {modules}; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & (OFFLINE | ENGINES | ROS | {"mujoco"})


def test_importing_the_package_alone_loads_nothing_of_it() -> None:
    ours = "(name for name in sys.modules if name.startswith('segzero_ros'))"
    program = f"import sys, segzero_ros; print(*{ours}, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["segzero_ros", "False"]
