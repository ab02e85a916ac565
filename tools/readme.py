"""Keeps what the README shows equal to its source: the tables of interface, parameters and evaluation, and the picture.

    .venv/bin/python tools/readme.py                                          # the tables
    .venv/bin/python tools/readme.py --picture demo_out/contact_sheet.png     # docs/images/demo.jpg as well

A test compares the tables; whoever changes the source runs this.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "demo.jpg"
BUNDLE = ROOT / "bundles" / "tabletop" / "bundle.json"
DIRECTIONS = {"subscribe": "sub", "publish": "pub", "service": "srv", "action": "action"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the README's tables; with --picture, its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--picture", type=Path, metavar="PNG", help="a contact sheet of `make demo`")
    options = parser.parse_args(arguments)
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    if options.picture:
        write_picture(options.picture)
    return 0


def tables() -> dict[str, str]:
    """Return each table the README shows, by the name in its marks."""
    made = {"interface": interface_table(), "parameters": parameter_table()}
    evaluation = json.loads(BUNDLE.read_text(encoding="utf-8"))["evaluation"] if BUNDLE.exists() else {}
    if "types" in evaluation:  # a bundle may be exported before it is evaluated
        made["evaluation"] = evaluation_table(evaluation)
    return made


def renewed(text: str) -> str:
    """Return the README's text with its tables made anew."""
    for name, table in tables().items():
        start, end = marks(name)
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


def marks(name: str) -> tuple[str, str]:
    """Return the comments between which a table stands."""
    return f"<!-- {name}: tools/readme.py -->", f"<!-- end of {name} -->"


def interface_table() -> str:
    """Return the names on the ROS graph, from the table the node itself uses."""
    from segzero_ros.ros.qos import ENDPOINTS

    rows = ["| | name | type | QoS | what |", "|---|---|---|---|---|"]
    for endpoint in ENDPOINTS.values():
        is_topic = endpoint.role in ("subscribe", "publish")
        qos = f"{endpoint.reliability.replace('_', ' ')}, {endpoint.depth}" if is_topic else ""
        kind = endpoint.type.replace("/msg/", "/").replace("/srv/", "/").replace("/action/", "/")
        rows.append(f"| {DIRECTIONS[endpoint.role]} | `{endpoint.name}` | `{kind}` | {qos} | {endpoint.meaning} |")
    return "\n".join(rows)


def parameter_table() -> str:
    """Return the node's parameters, from the dataclass they are declared from."""
    from segzero_ros.config import parameters

    rows = ["| parameter | default | range | what |", "|---|---|---|---|"]
    for parameter in parameters():
        bounds = "" if parameter.low is None else f"{parameter.low:g} to {parameter.high:g}"
        shown = json.dumps(parameter.default)
        rows.append(
            f"| `{parameter.name}` | `{shown}` | {', '.join(parameter.choices) or bounds} | {parameter.description} |"
        )
    return "\n".join(rows)


def evaluation_table(evaluation: Mapping[str, Any]) -> str:
    """Return the demo models' figures, from the bundle's own manifest."""
    groups = [*evaluation["types"].items(), *evaluation["seen"].items()]
    if "spoken" in evaluation:
        groups.append(("spoken, by hand", evaluation["spoken"]))
    known = {key: title for key, title in FIGURES.items() if any(key in group for _, group in groups)}
    rows = [f"| | scenes | {' | '.join(known.values())} |", "|---" * (len(known) + 2) + "|"]
    for name, group in groups:
        rows.append(f"| {name} | {group['count']} | {' | '.join(_shown(key, group.get(key)) for key in known)} |")
    return "\n".join([*rows, "", evaluation_note(evaluation)])


# The columns of the table, as far as an evaluation has them.
FIGURES = {
    "right": "right",
    "giou": "gIoU",
    "ciou": "cIoU",
    "n_acc": "N-Acc",
    "format_valid": "answer readable",
    "thinking_tokens": "thinking tokens",
}


def evaluation_note(evaluation: Mapping[str, Any]) -> str:
    """Return the line below the table: the command, the machine, the times."""
    stages = ", ".join(
        f"{name.replace('_', ' ')} {ms['p50']:.0f} ({ms['p95']:.0f})" for name, ms in evaluation["latency_ms"].items()
    )
    options = " ".join(f"--{name} {evaluation[name]}" for name in ("data", "split", "seed", "count"))
    options += " --also-spoken" if "spoken" in evaluation else ""
    return f"`segzero eval {options}`, on {evaluation['machine']}; ms, median (95th percentile): {stages}."


def _shown(key: str, figure: Any) -> str:
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
