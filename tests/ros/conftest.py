"""Fixtures of the ROS tests; where ROS is not installed they skip and say so."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.ros.robot import Robot

NEEDS_NO_ROS = ("test_tables.py", "test_launch.py")  # plain data; and launch looks for itself
HAS_ROS = importlib.util.find_spec("rclpy") is not None and importlib.util.find_spec("segzero_ros.msg") is not None


class WithoutRos(pytest.Module):
    """A test module that cannot even be imported here."""

    def collect(self) -> Iterable[pytest.Item]:
        pytest.skip(
            "needs rclpy and the built messages; `make test` installs them from wheels", allow_module_level=True
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip the modules that import ROS where there is none."""
    if HAS_ROS or module_path.name in NEEDS_NO_ROS:
        return None
    return WithoutRos.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    """One ROS context for all tests of this process."""
    import rclpy

    from tests.ros.robot import DOMAIN

    rclpy.init(args=[], domain_id=DOMAIN)
    yield
    rclpy.try_shutdown()


@pytest.fixture
def make_robot(ros: None) -> "Iterator[Callable[..., Robot]]":
    """``make_robot(reasoner, segmenter, **parameters)``: a robot that starts itself; all of them end with the test."""
    from tests.ros.robot import Robot, start_node

    robots: list[Robot] = []

    def make(*engines: Any, faults: Any = (), **parameters: Any) -> Robot:
        robots.append(Robot(start_node(*engines, faults=faults, **parameters)))
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()


@pytest.fixture
def robot(make_robot: "Callable[..., Robot]") -> "Robot":
    """An active robot whose engines answer with the middle of the picture."""
    return make_robot().is_("active")
