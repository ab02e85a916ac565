"""What pyproject.toml cannot say of the wheel; colcon takes package.xml and CMakeLists.txt instead of both.

The demo bundle and the picture to try it on lie outside the package in the source tree; the wheel has them inside, so
that `segzero ground table "..."` answers right after `pip install`. An editable install finds them where they are.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = {"bundles/tabletop": "segzero_ros/bundles/tabletop", "docs/images/table.jpg": "segzero_ros/cli/table.jpg"}


class BuildWithBundle(build_py):
    """Copies what CARRIED names into the built package."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if self.editable_mode:
            return
        for source, destination in CARRIED.items():
            target = Path(self.build_lib) / destination
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(ROOT / source, target)


setup(cmdclass={"build_py": BuildWithBundle})
