"""The figures of the engines' process as the tables of docs/speed.md, and its goals."""

from collections.abc import Callable, Mapping
from typing import Any

from bench.figures import markdown_table

Figures = Mapping[str, Any]
Goal = tuple[str, str, str, str, Callable[[Figures], float | None]]


def table(figures: Figures) -> str:
    """Return the border's cost, then what happens when the process ends, hangs, opens, and is shared."""
    return "\n\n".join((_border(figures["border"]), _ends(figures), _shared(figures)))


def _border(border: Figures) -> str:
    names = {"onnx": "demo bundle", "fake": "engines that answer at once"}
    kinds = {"per_command": "a command", "warm": "a command on a prefilled frame"}
    rows = [
        [
            f"{kinds[kind]}, {names[backend]}",
            f"{found['in_process_ms']:g}",
            f"{found['process_ms']:g}",
            f"{found['difference_ms']:g} ({found['low_ms']:g} to {found['high_ms']:g})",
            str(found["count"]),
        ]
        for backend, measured in border.items()
        for kind, found in measured.items()
    ]
    heads = ["720p, median ms", "in_process", "process", "paired difference", "pairs"]
    return markdown_table(heads, rows)


def _ends(figures: Figures) -> str:
    kills, hangs, loading = figures["kills"], figures["hangs"], figures["loading"]
    left = (
        f"{kills['processes_left']} processes, {kills['files_left']} files, {kills['named_shared_memory_left']} shared"
    )
    rows = [
        ["kill -9 in a command", f"{kills['answers']} answers to {kills['kills']} commands: {_counts(kills['codes'])}"],
        ["from the kill to the next OK", _spread(kills["next_answer_s"])],
        ["left behind", left],
        ["hangs, half of them with Python's lock", f"{hangs['hangs']}: {_counts(hangs['codes'])}"],
        ["from the deadline to the answer", _spread(hangs["ended_after_deadline_s"])],
        ["from the deadline to the next OK", _spread(hangs["next_answer_after_deadline_s"])],
        [f"commands while engines open for {loading['loading_s']:g} s", _answers(loading)],
        ["diagnostics meanwhile", _gaps(loading["diagnostics_gap_s"])],
    ]
    return markdown_table(["the engines' process ends, hangs or opens", "measured"], rows)


def _counts(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in codes.items())


def _spread(seconds: Mapping[str, float]) -> str:
    return f"median {seconds['median']:.2f} s, at most {seconds['max']:.2f} s"


def _answers(loading: Figures) -> str:
    times, codes = loading["answer_ms"], ", ".join(loading["codes"])
    return f"{loading['commands']}, all {codes}: median {times['p50']:g} ms, 99th percentile {times['p99']:g} ms"


def _gaps(gaps: Mapping[str, float]) -> str:
    return f"every {gaps['median']:g} s, at most {gaps['max']:g} s apart"


def _shared(figures: Figures) -> str:
    turns = {found["clients"]: found for found in figures["turns"]}
    rows = [
        [
            str(found["nodes"]),
            str(found["shared_mb"]),
            str(found["apart_mb"]),
            str(found["host_mb"]),
            f"{found['node_mb']} ({found['node_rss_mb']})",
            " / ".join(map(str, turns[found["nodes"]]["answers"])),
            str(turns[found["nodes"]]["longest_wait_ms"]),
        ]
        for found in figures["memory"]
    ]
    heads = ["nodes", "PSS MB, one host", "a host each", "of that the host", "a node (RSS)"]
    return markdown_table([*heads, "answers of each in 5 s", "longest wait, ms"], rows)


GOALS: tuple[Goal, ...] = (
    (
        "host",
        "process border per 720p command, demo bundle",
        "<= 2",
        " ms",
        lambda f: f["border"]["onnx"]["per_command"]["difference_ms"],
    ),
    ("host", "next answer after kill -9, at most", "<= 2", " s", lambda f: f["kills"]["next_answer_s"]["max"]),
    ("host", "answer while engines open, 99th percentile", "<= 50", " ms", lambda f: f["loading"]["answer_ms"]["p99"]),
    ("host", "a node's own memory, RSS", "<= 120", " MB", lambda f: f["memory"][0]["node_rss_mb"]),
)
