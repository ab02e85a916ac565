"""The goals hold on a few views of the demo world, in the median: centre 1 cm, size 1.5 cm, orientation 10 degrees."""

import pytest

pytest.importorskip("mujoco", reason="needs MuJoCo: pip install -r requirements/demo.txt")

from bench.place.accuracy import SENSORS, measure


def test_things_are_placed_within_a_centimetre_by_every_sensor():
    figures = measure(8, first=5000)["sensors"]
    assert set(figures) == set(SENSORS)
    for sensor, reached in figures.items():
        assert reached["things"] >= 20, sensor
        assert reached["centre_mm"]["p50"] < 10, sensor
        assert reached["size_mm"]["p50"] < 15, sensor
        assert reached["turn_deg"]["p50"] < 10, sensor
        assert reached["refused"] <= 0.05 * reached["things"], sensor
