"""An arm that passes before the camera: for a moment it hides what stands on the table, one thing after the other."""

from __future__ import annotations

import math

import numpy as np

from segzero_ros.tabletop.scene import Camera, Rod

LASTS_S = 6.0
NEAR = 0.55  # of the way from the camera to the table
RADIUS_M = 0.075
LENGTH = 0.9  # of its distance from the camera, to each side of the picture's middle
RGB = (0.55, 0.56, 0.6)
_ASPECT = 4 / 3


def passing_arm(camera: Camera, since_s: float) -> tuple[Rod, ...]:
    """The arm `since_s` seconds after it began to pass, upright in the picture, from left to right; () when it is gone.

    It moves with the camera, so that it passes whatever the camera looks at.
    """
    share = since_s / LASTS_S
    if not 0 <= share <= 1:
        return ()
    right, down, forward = np.asarray(camera.rotation).T
    position = np.asarray(camera.position)
    distance = NEAR * (0.05 - position[2]) / forward[2]
    reach = distance * math.tan(math.radians(camera.fovy_deg) / 2) * _ASPECT + 2 * RADIUS_M
    middle = position + distance * forward + (2 * share - 1) * reach * right
    ends = (middle + side * LENGTH * distance * down for side in (-1, 1))
    start, end = ((float(x), float(y), float(z)) for x, y, z in ends)
    return (Rod(start, end, RADIUS_M, RGB),)
