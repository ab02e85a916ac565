"""How well things are placed, against MuJoCo's truth: `python -m bench.place.accuracy --views 1000 --out FILE.json`.

Every unhidden thing of the demo world's test scenes, with the truth's own masks and depth as four kinds of sensor give
it. An error in size is the largest of the box's three sides (the two horizontal ones in order of length); orientation
is that of books and boxes about the vertical: modulo 90 degrees where the sides differ by less than a tenth, else 180.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.record import record
from segzero_ros.place import Intrinsics, Placed, Refusal, place
from segzero_ros.tabletop import Renderer, Thing, View, sample_scene
from segzero_ros.tabletop.scene import corners, rotation_of
from segzero_ros.tabletop.things import extent

SENSORS = ("exact", "noisy", "dropouts", "quantised")
NOISE = 0.002  # standard deviation, metres at 1 m; grows with z squared
DROPPED = 0.15  # of the pixels
STEP_MM = 5  # of the coarse sensor
ANGULAR = ("book", "box")


@dataclass(frozen=True, slots=True)
class Error:
    """Of one thing: metres, metres, degrees (NaN where orientation is not defined), and of the covariance."""

    kind: str
    centre: float
    size: float
    turn: float
    mahalanobis: float


def sensed(depth: NDArray[np.float32], sensor: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return true depth (H, W) as the sensor would give it; all but the exact one have the noise."""
    if sensor == "exact":
        return depth
    noisy = depth + (NOISE * depth**2 * rng.standard_normal(depth.shape)).astype(np.float32)
    if sensor == "dropouts":
        noisy[rng.random(depth.shape) < DROPPED] = np.nan
    if sensor == "quantised":
        noisy = np.round(noisy * 1000 / STEP_MM).astype(np.float32) * np.float32(STEP_MM / 1000)
    return noisy


def intrinsics_of(view: View) -> Intrinsics:
    """Return fx, fy, cx, cy of the view's camera."""
    matrix = view.intrinsics
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])


def error_of(placed: Placed, thing: Thing, view: View) -> Error:
    """Compare with the box around the thing's mesh."""
    low, high = (np.asarray(side) * np.asarray(thing.scale) for side in extent(thing.kind))
    centre = view.camera.to_camera(corners(thing).mean(axis=0))
    sides = high - low
    flat, ours = np.sort(sides[:2])[::-1], np.sort(placed.box.size[:2])[::-1]
    size = float(max(*abs(flat - ours), abs(sides[2] - placed.box.size[2])))
    off = placed.box.centre - centre
    distance = float(np.sqrt(off @ np.linalg.solve(placed.covariance, off)))
    return Error(thing.kind, float(np.linalg.norm(off)), size, _turn_error(placed, thing, view, sides), distance)


def _turn_error(placed: Placed, thing: Thing, view: View, sides: NDArray[np.float64]) -> float:
    if thing.kind not in ANGULAR:
        return math.nan
    longer = rotation_of(thing.quaternion)[:, int(np.argmax(sides[:2]))]
    ours = np.asarray(view.camera.rotation) @ placed.box.axes[:, 0]
    turn = math.degrees(math.atan2(ours[1], ours[0]) - math.atan2(longer[1], longer[0]))
    period = 90.0 if min(sides[:2]) > 0.9 * max(sides[:2]) else 180.0
    return abs((turn + period / 2) % period - period / 2)


def things_of(view: View, sensor: str, seed: int) -> Iterator[tuple[Thing, Placed | Refusal]]:
    """Yield the unhidden things of a view with what became of them."""
    assert view.depth_m is not None
    depth = sensed(view.depth_m, sensor, np.random.default_rng([seed, SENSORS.index(sensor)]))
    results = place(view.labels, len(view.scene.things), depth, intrinsics_of(view))
    clear = {thing.id for thing in view.things if thing.clear}
    for thing in view.scene.things:
        if thing.id in clear:
            yield thing, results[thing.id - 1]


def summary(errors: list[Error], refused: list[str]) -> dict[str, object]:
    """Medians and 90th percentiles in mm and degrees."""
    centre = np.array([error.centre for error in errors]) * 1000
    size = np.array([error.size for error in errors]) * 1000
    turn = np.array([error.turn for error in errors if not math.isnan(error.turn)])
    figures: dict[str, object] = {"things": len(errors), "refused": len(refused)}
    for name, values in (("centre_mm", centre), ("size_mm", size), ("turn_deg", turn)):
        if values.size:
            figures[name] = {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 90)}
    within = np.array([error.mahalanobis for error in errors]) < math.sqrt(7.815)  # 95 % of a chi-squared of 3
    figures["within_95_percent_ellipsoid"] = round(float(within.mean()), 3)
    return figures


def measure(views: int, sensors: tuple[str, ...] = SENSORS, first: int = 0) -> dict[str, object]:
    """Return the figures of every sensor, and of every kind of thing by the noisy one."""
    errors: dict[str, list[Error]] = {sensor: [] for sensor in sensors}
    refused: dict[str, list[str]] = {sensor: [] for sensor in sensors}
    with Renderer(640, 480) as renderer:
        for seed in range(first, first + views):
            view = renderer.render(sample_scene(seed, "test"), depth=True, rgb=False)
            for sensor in sensors:
                for thing, result in things_of(view, sensor, seed):
                    if isinstance(result, Placed):
                        errors[sensor].append(error_of(result, thing, view))
                    else:
                        refused[sensor].append(f"{thing.kind} {result.reason.value}")
    kinds = sorted({error.kind for error in errors[sensors[-1]]})
    chosen = "noisy" if "noisy" in sensors else sensors[0]
    by_kind = {kind: summary([e for e in errors[chosen] if e.kind == kind], []) for kind in kinds}
    counts = {s: {name: refused[s].count(name) for name in sorted(set(refused[s]))} for s in sensors}
    whole = {sensor: summary(errors[sensor], refused[sensor]) for sensor in sensors}
    return {"views": views, "size": [640, 480], "sensors": whole, f"kinds_{chosen}": by_kind, "refused": counts}


def speed(objects: int = 64, repeats: int = 20) -> dict[str, object]:
    """Return the time for many objects in one 720p picture, milliseconds: cubes of 24 x 24 cm on a wall 2 m away."""
    labels, depth = np.zeros((720, 1280), np.uint8), np.full((720, 1280), 2.0, np.float32)
    for k in range(objects):
        y, x = divmod(k, 8)
        rows, columns = slice(20 + y * 85, 80 + y * 85), slice(20 + x * 155, 130 + x * 155)
        labels[rows, columns], depth[rows, columns] = k + 1, 1.9
    depth += np.random.default_rng(0).normal(0, 0.002, depth.shape).astype(np.float32)
    times = []
    for _ in range(repeats):
        start = time.thread_time()  # of this core alone: what else runs on the machine is not counted
        results = place(labels, objects, depth, (900.0, 900.0, 640.0, 360.0))
        times.append((time.thread_time() - start) * 1000)
    placed = sum(isinstance(result, Placed) for result in results)
    return {"objects": objects, "placed": placed, "pixels": [1280, 720], "median_ms": round(float(np.median(times)), 1)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Accuracy and speed of placing things, against MuJoCo's truth.")
    parser.add_argument("--views", type=int, default=1000, help="scenes of the test split (default: 1000)")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    figures = {"speed": speed(), **measure(options.views)}
    settings = {"noise_m_at_1m": NOISE, "dropped": DROPPED, "step_mm": STEP_MM}
    command = ["python", "-m", "bench.place.accuracy", "--views", str(options.views)]
    text = json.dumps(record("place", command, settings, figures), indent=2)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
