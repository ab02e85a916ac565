"""For `pip install -e .` where no ROS 2 is wanted; colcon takes package.xml and CMakeLists.txt instead of this file."""

from setuptools import setup

setup()
