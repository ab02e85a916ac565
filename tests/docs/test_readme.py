"""The README says what is so: its commands exist, its tree is the repository's, its tables are their sources'."""

import re
import shlex
import subprocess

import pytest

from segzero_ros.cli.main import COMMANDS, main
from segzero_ros.ros import processes
from tools.readme import PAGES, README, ROOT, renew

TEXT = README.read_text(encoding="utf-8")
DOCS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("docs/deploy/*.md"))]


def commands(path):
    """Every line of every fenced block, its comment gone."""
    blocks = re.findall(r"```\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    whole = [block.replace("\\\n", " ") for block in blocks]
    lines = [line.partition(" #")[0].strip() for block in whole for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split("&&")]


def all_commands(start):
    return sorted({line for path in DOCS for line in commands(path) if re.match(start, line)})


# ---- commands ----


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = {line.split()[1] for line in all_commands(r"make ")}
    assert wanted
    assert wanted <= targets


def help_of(name, words, capsys):
    """What `segzero NAME --help` shows, with the action's name where there are several."""
    with pytest.raises(SystemExit) as leaving:
        raise SystemExit(main([name, *words[: name in ("bundle", "data", "engines", "train")], "--help"]))
    assert leaving.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("line", all_commands(r"(ros2 run segzero_ros |\.venv/bin/)?segzero "))
def test_segzero_takes_its_command_lines_as_written(line, capsys):
    """The command exists, and it knows every option that is shown."""
    name, *words = shlex.split(line.partition("segzero ")[2])
    assert name in COMMANDS
    known = help_of(name, words, capsys)
    ours = words[: words.index("--ros-args")] if "--ros-args" in words else words
    assert not [word for word in ours if word.startswith("--") and word not in known]


@pytest.mark.parametrize("line", all_commands(r"ros2 launch"))
def test_launch_files_and_their_arguments_exist(line):
    _, _, package, file, *arguments = shlex.split(line)
    source = (ROOT / "launch" / file).read_text(encoding="utf-8")
    assert package == "segzero_ros"
    names = {argument.partition(":=")[0] for argument in arguments} - processes.COMMON_ARGUMENTS.keys()
    assert not [name for name in names if f'"{name}":' not in source]


@pytest.mark.parametrize("line", all_commands(r"\.venv/bin/python "))
def test_python_is_given_files_and_modules_that_exist(line):
    words = shlex.split(line)
    if words[1] == "-m" and words[2] not in ("pip", "pytest"):
        module = words[2].replace(".", "/")
        words[2] = f"{module}/__main__.py" if (ROOT / module).is_dir() else f"{module}.py"
    paths = [word for word in words[1:] if word.endswith((".py", ".txt"))]
    assert not [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert not [t for t in targets if not t.startswith("http") and not (path.parent / t).exists()]


# ---- tree ----


def tree():
    """The paths of the README's tree; a directory ends in a slash."""
    block = TEXT.partition("## The tree\n\n```\n")[2].partition("```")[0]
    paths, inside = [], ""
    for line in block.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            inside = name if name.endswith("/") else ""
        paths.append(inside + name if line.startswith(" ") else name)
    return paths


def tracked():
    """Every file that git knows, or would after `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]


def test_everything_in_the_tree_exists():
    assert not [path for path in tree() if not (ROOT / path).exists()]


def test_everything_that_exists_is_in_the_tree():
    """A directory is either opened, with all of its entries listed, or has one line for all it holds."""
    listed = tree()
    closed = tuple(
        p for p in listed if p.endswith("/") and not any(other != p and other.startswith(p) for other in listed)
    )
    assert not [path for path in tracked() if path not in listed and not path.startswith(closed)]


def test_every_line_of_the_tree_says_what_the_thing_is():
    block = TEXT.partition("## The tree\n\n```\n")[2].partition("```")[0]
    assert not [
        line
        for line in block.splitlines()
        if len(line.split()) < 2 and line.split()[0] not in ("training/", "tests/", "docs/")
    ]


# ---- tables and pictures ----


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_tables_are_their_sources(path):
    text = path.read_text(encoding="utf-8")
    assert "tools/readme.py -->" in text
    assert renew(text) == text, "run: .venv/bin/python tools/readme.py"


def test_a_table_that_is_not_its_source_is_made_anew():
    wrong = TEXT.replace("| `bundle` |", "| `bundel` |", 1)
    assert wrong != TEXT
    assert renew(wrong) == TEXT


def test_pictures_are_small():
    assert not [path for path in (ROOT / "docs" / "images").glob("*") if path.stat().st_size > 400_000]


def test_texts_name_no_file_of_ours_that_is_not_there():
    """Paths in backticks with a known top directory exist."""
    tops = ("segzero_ros/", "docs/", "tools/", "config/", "launch/", "export/", "training/", "requirements/")
    for path in [*DOCS, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]:
        named = re.findall(r"`([\w./-]+)`", path.read_text(encoding="utf-8"))
        ours = [n for n in named if n.startswith(tops) and ("." in n or n.endswith("/")) and "NAME" not in n]
        gone = [n for n in ours if not (ROOT / n).exists()]
        assert not gone, f"{path.name}: {gone}"


OLD_WORDS = re.compile(r"\b(desk|mailbox|mumbl\w*|palette|squash\w*|verdict)\b", re.IGNORECASE)


@pytest.mark.parametrize("path", [path for path in DOCS if path.name != "log.md"], ids=lambda path: path.name)
def test_texts_use_the_words_of_the_field(path):
    """The log keeps the words of its day."""
    assert OLD_WORDS.findall(path.read_text(encoding="utf-8")) == []


def test_the_changelog_names_this_version():
    version = re.search(r"<version>(.*?)</version>", (ROOT / "package.xml").read_text(encoding="utf-8")).group(1)
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
