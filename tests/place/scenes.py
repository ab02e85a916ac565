"""A table seen from above at 45 degrees with a block or a cylinder on it: depth by casting rays, so truth is known."""

import numpy as np

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
INTRINSICS = (FOCAL, FOCAL, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
CAMERA_HEIGHT_M = 0.5
DOWN = np.array([[1.0, 0.0, 0.0], [0.0, -np.sqrt(0.5), np.sqrt(0.5)], [0.0, -np.sqrt(0.5), -np.sqrt(0.5)]])
"""Camera -> world: x right, y away from the camera, z up; it looks down by 45 degrees at (0, 0.5, 0)."""
EYE = np.array([0.0, 0.0, CAMERA_HEIGHT_M])
MIDDLE = np.array([0.0, 0.5])


def rays():
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    fx, fy, cx, cy = INTRINSICS
    return np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u, float)], axis=2) @ DOWN.T


def table():
    """Depth (H, W) of the empty table at z = 0."""
    return (-CAMERA_HEIGHT_M / rays()[..., 2]).astype(np.float32)


def block(size, yaw=0.0, middle=MIDDLE):
    """Labels and depth of a block (x, y, z) metres, turned by ``yaw`` radians, whose base is at ``middle``."""
    turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])
    origin = turn @ (EYE - [*middle, 0.0])
    way = rays() @ turn.T
    low, high = np.array([-size[0] / 2, -size[1] / 2, 0]), np.array([size[0] / 2, size[1] / 2, size[2]])
    with np.errstate(divide="ignore"):
        one, two = (low - origin) / way, (high - origin) / way
    near, far = np.minimum(one, two).max(axis=2), np.maximum(one, two).min(axis=2)
    return _seen(near, near < far)


def cylinder(diameter, height, middle=MIDDLE):
    """Labels and depth of a standing cylinder."""
    way, radius = rays(), diameter / 2
    origin = EYE - [*middle, 0.0]
    a = way[..., 0] ** 2 + way[..., 1] ** 2
    b = way[..., 0] * origin[0] + way[..., 1] * origin[1]
    root = b**2 - a * (origin[0] ** 2 + origin[1] ** 2 - radius**2)
    wall = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    z = origin[2] + wall * way[..., 2]
    wall = np.where((z > 0) & (z < height), wall, np.inf)
    lid = (height - origin[2]) / way[..., 2]
    on_lid = ((origin[:2] + lid[..., None] * way[..., :2]) ** 2).sum(axis=2) < radius**2
    near = np.minimum(wall, np.where(on_lid, lid, np.inf))
    return _seen(near, np.isfinite(near))


def _seen(near, hit):
    depth = table()
    depth[hit] = near[hit]
    return hit.astype(np.uint8), depth


def to_world(point):
    """From the optical frame."""
    return DOWN @ point + EYE
