"""Keeps the tables of README and docs equal to their sources: interface, parameters, evaluation; and the picture.

    .venv/bin/python tools/readme.py                                          # the tables
    .venv/bin/python tools/readme.py --picture demo_out/contact_sheet.png     # docs/images/demo.jpg as well

A test compares the tables; whoever changes a source runs this.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from segzero_ros.config import parameters
from segzero_ros.ros.qos import ENDPOINTS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "interface.md", ROOT / "docs" / "parameters.md")
PICTURE = ROOT / "docs" / "images" / "demo.jpg"
BUNDLE = ROOT / "bundles" / "tabletop" / "bundle.json"
DIRECTIONS = {"subscribe": "sub", "publish": "pub", "service": "srv", "action": "action"}

# What the README shows of the whole tables: the topics of the first minute, the parameters that people set.
TOPICS = ("image", "command", "segmentation", "reasoning_stream", "overlay/compressed")
SETTINGS = ("bundle", "backend", "warm_frame_hz", "image_qos", "use_depth", "timeout_sec", "thinking_budget")

# The columns of the evaluation's table, as far as it has them.
FIGURES = {"right": "right", "giou": "gIoU", "ciou": "cIoU", "n_acc": "N-Acc"}
FIGURES |= {"format_valid": "answer readable", "thinking_tokens": "thinking tokens"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the tables; with --picture, the README's picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--picture", type=Path, metavar="PNG", help="a contact sheet of `make demo`")
    options = parser.parse_args(arguments)
    for page in PAGES:
        page.write_text(renew(page.read_text(encoding="utf-8")), encoding="utf-8")
    if options.picture:
        write_picture(options.picture)
    return 0


def renew(text: str) -> str:
    """Return a page's text with the tables between its marks made anew."""
    for name, table in tables().items():
        start, end = f"<!-- {name}: tools/readme.py -->", f"<!-- end of {name} -->"
        if start in text:
            before, _, rest = text.partition(start)
            text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def tables() -> dict[str, str]:
    """Return every table by the name in its marks."""
    made = {
        "interface": interface_table(ENDPOINTS),
        "topics": interface_table(TOPICS),
        "parameters": parameter_table([parameter.name for parameter in parameters()]),
        "settings": parameter_table(SETTINGS),
    }
    evaluation = json.loads(BUNDLE.read_text(encoding="utf-8"))["evaluation"] if BUNDLE.exists() else {}
    if "types" in evaluation:  # a bundle may be exported before it is evaluated
        made["evaluation"] = evaluation_table(evaluation)
    return made


def interface_table(names: Collection[str]) -> str:
    """Return these names of the ROS graph, from the table that the node itself uses."""
    rows = []
    for endpoint in (ENDPOINTS[name] for name in names):
        is_topic = endpoint.role in ("subscribe", "publish")
        qos = f"{endpoint.reliability.replace('_', ' ')}, {endpoint.depth}" if is_topic else ""
        kind = endpoint.type.replace("/msg/", "/").replace("/srv/", "/").replace("/action/", "/")
        rows.append([DIRECTIONS[endpoint.role], f"`{endpoint.name}`", f"`{kind}`", qos, endpoint.meaning])
    return markdown(["", "name", "type", "QoS", "what"], rows)


def parameter_table(names: Collection[str]) -> str:
    """Return these parameters of the node, from the dataclass that they are declared from."""
    rows = []
    for parameter in (parameter for name in names for parameter in parameters() if parameter.name == name):
        span = "" if parameter.low is None else f"{parameter.low:g} to {parameter.high:g}"
        allowed = "; ".join(filter(None, (", ".join(parameter.choices) or span, "live" if parameter.live else "")))
        rows.append([f"`{parameter.name}`", f"`{json.dumps(parameter.default)}`", allowed, parameter.description])
    return markdown(["parameter", "default", "range", "what"], rows)


def evaluation_table(evaluation: Mapping[str, Any]) -> str:
    """Return the demo models' figures, from the bundle's own manifest."""
    groups = [*evaluation["types"].items(), *evaluation["seen"].items()]
    if "spoken" in evaluation:
        groups.append(("spoken, by hand", evaluation["spoken"]))
    known = {key: title for key, title in FIGURES.items() if any(key in group for _, group in groups)}
    rows = [[name, str(group["count"]), *(_cell(key, group.get(key)) for key in known)] for name, group in groups]
    return f"{markdown(['', 'scenes', *known.values()], rows)}\n\n{evaluation_note(evaluation)}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def evaluation_note(evaluation: Mapping[str, Any]) -> str:
    """Return the line below the table: the command, the machine, the times."""
    stages = ", ".join(
        f"{name.replace('_', ' ')} {ms['p50']:.0f} ({ms['p95']:.0f})" for name, ms in evaluation["latency_ms"].items()
    )
    options = " ".join(f"--{name} {evaluation[name]}" for name in ("data", "split", "seed", "count"))
    options += " --also-spoken" if "spoken" in evaluation else ""
    return f"`segzero eval {options}`, on {evaluation['machine']}; ms, median (95th percentile): {stages}."


def _cell(key: str, figure: Any) -> str:
    """Return a cell: a share with its interval, a plain share, or the mean and 95th percentile of tokens."""
    if figure is None:
        return ""
    if key == "format_valid":
        return f"{100 * figure:.1f} %"
    if key == "thinking_tokens":
        return f"{figure['value']:.0f} ({figure['p95']:.0f})"
    return f"{100 * figure['value']:.1f} % ({100 * figure['low']:.0f}-{100 * figure['high']:.0f})"


def write_picture(sheet: Path) -> None:
    """Store the contact sheet as the README's picture, below 400 kB."""
    from PIL import Image

    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(sheet).convert("RGB")
    for quality in (88, 80, 70, 60):
        picture.save(PICTURE, quality=quality, optimize=True)
        if PICTURE.stat().st_size < 400_000:
            return


if __name__ == "__main__":
    sys.exit(main())
