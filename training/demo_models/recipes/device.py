"""Where a training of the demo models runs and how long: the options that both have."""

import argparse
from collections.abc import Callable
from typing import Any

from segzero_ros.cli.parser import at_least, number_in

DEVICES = ("auto", "cpu", "cuda")
PICTURES_ON_DEVICE = 200_000


def add_device_options(add: Callable[..., Any]) -> None:
    """--device, --workers and --bfloat16."""
    add("--device", choices=DEVICES, default="cpu", metavar="NAME", help="auto, cpu or cuda (default cpu)")
    workers = "processes that make steps ahead (default: none on a CPU, half of the cores beside a GPU)"
    add("--workers", type=at_least(0), metavar="N", help=workers)
    half = "forward passes in bfloat16, weights in float32 (default: on a GPU)"
    add("--bfloat16", action=argparse.BooleanOptionalAction, help=half)


def add_seconds_option(add: Callable[..., Any], what: str) -> None:
    """--seconds."""
    add("--seconds", type=number_in(0, above=True), metavar="N", help=what)
