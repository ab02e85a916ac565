"""docs/architecture.md says what is so: every file, name, room and arrow on it is one of the code."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TOPS = ("segzero_ros", "export", "training", "bench")
PLACE = re.compile(r"[\w./]+\.py(:[\w.]+)?")
CLASS = re.compile(r"[A-Z]+[a-z]\w*(\.\w+)*")  # ClassName or ClassName.member
MESSAGES = {"CompressedImage"}  # ROS's, not ours


def quoted(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@functools.cache
def defined(file):
    """Every top-level name of a file, and every member of its classes as Class.member."""
    body = ast.parse(file.read_text("utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    return {name for node in body for name in names(node)} | {
        f"{cls.name}.{name}" for cls in classes for name in members(cls)
    }


def names(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def members(cls):
    """What the body defines, and what the methods set on self."""
    attributes = [node for node in ast.walk(cls) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    on_self = [node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "self"]
    return [name for node in cls.body for name in names(node)] + on_self


def missing(text):
    """What is quoted in ``text`` like a file or a class, and is none."""
    everything = {name for top in TOPS for file in ROOT.glob(f"{top}/**/*.py") for name in defined(file)}
    gone = [word for word in quoted(text) if CLASS.fullmatch(word) and word not in everything | MESSAGES]
    for word in filter(PLACE.fullmatch, quoted(text)):
        path, _, name = word.partition(":")
        file = next((file for file in (ROOT / path, ROOT / "segzero_ros" / path) if file.is_file()), None)
        if file is None or (name and name not in defined(file)):
            gone.append(word)
    return gone


def test_every_file_and_name_on_the_page_exists():
    assert missing(PAGE) == []
    assert len([word for word in quoted(PAGE) if PLACE.fullmatch(word)]) > 50


@pytest.mark.parametrize(
    "word",
    [
        "gone.py",
        "segzero_ros/gone.py",
        "worker.py:Gone",
        "worker.py:Worker.gone",
        "ros/worker.py:Worker",
        "Worker.gone",
        "GoneClass",
    ],
)
def test_a_name_that_is_gone_is_found(word):
    assert missing(f"the file `{word}` does") == [word]
    assert missing("`worker.py:Worker.submit`, `segzero_ros/worker.py`, `Worker.submit`, `--worker`") == []


# ---- rooms and arrows ----


def rooms():
    """Room -> what its row in the table says that it imports."""
    rows = re.findall(r"^\| (core|`\w+/`) \|.*\| ([^|]*)\|$", PAGE, re.MULTILINE)
    return {room.strip("`/"): set(re.findall(r"\w+", imports)) for room, imports in rows}


def room_of(parts):
    if parts[0] != "segzero_ros":
        return parts[0]
    return parts[1] if len(parts) > 1 and (ROOT / "segzero_ros" / parts[1]).is_dir() else "core"


def imported_rooms(file):
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            packages = [alias.name for alias in node.names if node.module == "segzero_ros"]
            modules = [f"{node.module}.{name}" for name in packages] or [node.module]
        found |= {room_of(module.split(".")) for module in modules if module.split(".")[0] in TOPS}
    return found


def test_every_folder_of_the_code_is_a_room_on_the_page():
    folders = {file.parent.relative_to(ROOT).as_posix() for top in TOPS for file in ROOT.glob(f"{top}/**/*.py")}
    written = [f"{folder.removeprefix('segzero_ros/')}/" for folder in folders - {"segzero_ros"}]
    assert [folder for folder in written if f"`{folder}`" not in PAGE] == []


def test_every_import_from_room_to_room_is_in_the_table():
    stated = rooms()
    unstated = {}
    for file in (file for top in TOPS for file in ROOT.glob(f"{top}/**/*.py")):
        room = room_of(file.relative_to(ROOT).parts)
        allowed = {room, *(stated if "all" in stated[room] else stated[room])}
        if not imported_rooms(file) <= allowed:
            unstated[file.name] = imported_rooms(file) - allowed
    assert unstated == {}


def test_the_table_states_no_import_that_there_is_not():
    found = {room: set() for room in rooms()}
    for file in (file for top in TOPS for file in ROOT.glob(f"{top}/**/*.py")):
        found[room_of(file.relative_to(ROOT).parts)] |= imported_rooms(file)
    stated = {room: imports for room, imports in rooms().items() if "all" not in imports}
    assert {room: imports - found[room] for room, imports in stated.items() if imports - found[room]} == {}
