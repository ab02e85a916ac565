"""Draws scenes with MuJoCo, off-screen.

One model with a pool of every kind, posed, scaled, coloured and lit anew for every scene.
"""

from __future__ import annotations

import functools
import math
import weakref
from types import TracebackType

import mujoco
import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.gl import Context, open_context
from segzero_ros.tabletop.pool import Pool, add_pool
from segzero_ros.tabletop.rich.pool import RichPool, add_rich_pool
from segzero_ros.tabletop.rich.shot import develop, noisy_depth
from segzero_ros.tabletop.scene import Camera, Rod, Room, Scene, Sensor, World
from segzero_ros.tabletop.surfaces import SIDE, surfaces
from segzero_ros.tabletop.view import View, see_things

NEAR_M, FAR_M = 0.05, 12.0
TABLE_THICKNESS_M = 0.04
FLOOR_Z_M = -0.7
MAX_LIGHTS = 3
SURROUNDINGS = ("top", "edge", "floor", "wall")
SHADOW_MAP = 512


def _build_model(size: tuple[int, int], world: World) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.stat.extent = 1.0
    spec.stat.center = [0, 0, 0]
    spec.visual.map.znear, spec.visual.map.zfar = NEAR_M, FAR_M
    spec.visual.global_.offwidth, spec.visual.global_.offheight = size
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = SHADOW_MAP, 0
    _add_surroundings(spec)
    (add_pool if world == "simple" else add_rich_pool)(spec)
    model = spec.compile()
    if hasattr(model, "geom_castshadow"):  # MuJoCo 4; what only receives shadows costs a fifth of the time
        model.geom_castshadow[[model.geom(name).id for name in SURROUNDINGS]] = False
    for index, pattern in enumerate(surfaces()):
        start = model.tex_adr[index]
        model.tex_data[start : start + pattern.size] = pattern.ravel()
    return model


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    for index in range(len(surfaces())):
        spec.add_texture(
            name=f"surface{index}",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            width=SIDE,
            height=SIDE,
        )
        material = spec.add_material(
            name=f"surface{index}", texrepeat=[2, 2], texuniform=True, specular=0.15, shininess=0.2
        )
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"surface{index}"
    world, plane = spec.worldbody, mujoco.mjtGeom.mjGEOM_PLANE
    world.add_geom(name="top", type=plane, size=[1, 1, 1], material="surface0")
    world.add_geom(name="edge", type=mujoco.mjtGeom.mjGEOM_BOX, size=[1, 1, TABLE_THICKNESS_M / 2])
    world.add_geom(name="floor", type=plane, size=[9, 9, 1], material="surface0")
    world.add_geom(name="wall", type=plane, size=[9, 9, 1], material="surface0")
    for index in range(MAX_LIGHTS):
        world.add_light(name=f"light{index}", cutoff=75, exponent=1, castshadow=index == 0)
    world.add_camera(name="camera")


class Renderer:
    """Draws scenes at one size. Owns an OpenGL context.

    Use it in the thread that made it, and close it (or use `with`).
    """

    def __init__(self, width: int = 640, height: int = 480, world: World = "simple") -> None:
        """`NoOpenGLError` when this machine cannot render off-screen. The scenes of one world only."""
        self.width, self.height, self.world = width, height, world
        self._gl = open_context(width, height)
        self._model = _build_model((width, height), world)
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._scene = mujoco.MjvScene(self._model, maxgeom=200)
        self._option = mujoco.MjvOption()
        self._eye = mujoco.MjvCamera()
        self._eye.type, self._eye.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._rect = mujoco.MjrRect(0, 0, width, height)
        # Also when nobody closes it: freed after the interpreter has begun to end, OpenGL's bindings are gone.
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        self._pool: Pool | RichPool = Pool(self._model) if world == "simple" else RichPool(self._model)
        for flag in (mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = False

    def render(self, scene: Scene, *, depth: bool = False, rgb: bool = True) -> View:
        """Draw the scene and measure what is seen of each thing.

        Without `rgb` the picture stays black, which takes a fifth of the time.
        """
        if scene.world != self.world:
            raise ValueError(f"got a scene of the {scene.world} world; open Renderer(world={scene.world!r}) for it")
        self._gl.make_current()
        self._pose(scene)
        picture = (
            expose(self._draw_rgb(), scene.sensor) if rgb else np.zeros((self.height, self.width, 3), dtype=np.uint8)
        )
        labels, depth_m = self._draw_labels(depth)
        if scene.shot is not None:
            picture = develop(picture, scene.shot) if rgb else picture
            depth_m = None if depth_m is None else noisy_depth(depth_m, scene.shot)
        return View(picture, labels, depth_m, scene, see_things(scene, labels))

    def _pose(self, scene: Scene) -> None:
        self._pool.clear()
        for thing in scene.things:
            self._pool.show(thing, self._model, self._data)
        if isinstance(self._pool, RichPool):
            self._pool.litter(scene.clutter, self._model, self._data)
            for texture in self._pool.painted:
                mujoco.mjr_uploadTexture(self._model, self._context, texture)
        _furnish(scene.room, self._model, self._data)
        _aim(scene.camera, self._model, self._data)
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, None, self._eye, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        for rod in scene.rods:
            _add_rod(rod, self._scene)

    def _draw_rgb(self) -> NDArray[np.uint8]:
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = False
        pixels = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, self._rect, self._context)
        return pixels[::-1]

    def _draw_labels(self, with_depth: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = True
        self._scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        pixels = np.empty((self.height, self.width, 3), dtype=np.uint8)
        depth = np.empty((self.height, self.width), dtype=np.float32) if with_depth else None
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, depth, self._rect, self._context)
        ids = _ids_by_colour(self._scene, self._pool.owner)[pixels[::-1, :, 0]]
        return np.ascontiguousarray(ids), None if depth is None else _metres(depth[::-1])

    def close(self) -> None:
        """Free the OpenGL resources; the renderer is of no use afterwards."""
        self._free()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free(gl: Context, context: mujoco.MjrContext) -> None:
    gl.make_current()
    context.free()
    gl.free()


def _ids_by_colour(scene: mujoco.MjvScene, owner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Look-up (256,) from the red channel of a segmentation picture to the thing's id, by the owner of each geom."""
    table = np.zeros(256, dtype=np.uint8)
    for geom in scene.geoms[: scene.ngeom]:
        if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.objid >= 0 and geom.segid >= 0:
            table[geom.segid + 1] = owner[geom.objid]
    return table


def _furnish(room: Room, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Put table, floor, wall and lights in place."""
    top, edge, floor, wall = (model.geom(name).id for name in SURROUNDINGS)
    for geom, (surface, tint) in ((top, room.table), (floor, room.floor), (wall, room.wall)):
        model.geom_matid[geom] = model.material(f"surface{surface}").id
        model.geom_rgba[geom] = (*tint, 1.0)
    half = np.asarray(room.table_size)
    model.geom_size[top] = (*half, 1.0)
    model.geom_size[edge] = (*half, TABLE_THICKNESS_M / 2)
    model.geom_rgba[edge] = (*(0.6 * channel for channel in room.table[1]), 1.0)
    data.geom_xpos[top] = (0, 0, 0)
    data.geom_xpos[edge] = (0, 0, -TABLE_THICKNESS_M / 2 - 0.002)
    data.geom_xpos[floor] = (0, 0, FLOOR_Z_M)
    outward = np.array([math.cos(room.wall_azimuth), math.sin(room.wall_azimuth), 0.0])
    side = np.array([-outward[1], outward[0], 0.0])
    data.geom_xpos[wall] = outward * room.wall_distance
    data.geom_xmat[wall] = np.stack([side, [0.0, 0.0, -1.0], -outward], axis=1).ravel()
    _light_up(room, model, data)


def _add_rod(rod: Rod, scene: mujoco.MjvScene) -> None:
    """Draw the rod after all else; its colour in the segmentation picture is no thing's."""
    geom = scene.geoms[scene.ngeom]
    capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
    mujoco.mjv_initGeom(geom, capsule, np.zeros(3), np.zeros(3), np.zeros(9), np.array([*rod.rgb, 1.0], np.float32))
    mujoco.mjv_connector(geom, capsule, rod.radius, np.asarray(rod.start), np.asarray(rod.end))
    geom.objtype, geom.objid = mujoco.mjtObj.mjOBJ_UNKNOWN, -1  # else it has those of what was drawn last at this place
    geom.segid = scene.ngeom
    geom.category = mujoco.mjtCatBit.mjCAT_DYNAMIC
    scene.ngeom += 1


def _light_up(room: Room, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    model.vis.headlight.ambient[:] = room.ambient
    model.vis.headlight.diffuse[:] = 0.12
    model.vis.headlight.specular[:] = 0.0
    model.light_active[:] = False
    for index, light in enumerate(room.lights):
        position = np.asarray(light.position)
        model.light_active[index] = True
        model.light_castshadow[index] = light.shadow
        model.light_diffuse[index] = light.diffuse
        model.light_specular[index] = np.asarray(light.diffuse) * 0.6
        data.light_xpos[index] = position
        data.light_xdir[index] = -position / np.linalg.norm(position)


def _aim(camera: Camera, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """MuJoCo's cameras look along -z with y up; ours along z with y down."""
    model.cam_fovy[0] = camera.fovy_deg
    data.cam_xpos[0] = camera.position
    data.cam_xmat[0] = (np.asarray(camera.rotation) * [1.0, -1.0, -1.0]).ravel()


def _metres(buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """OpenGL's reversed depth buffer (1 at the near plane, 0 at the far one) -> metres along the optical axis."""
    value = buffer.astype(np.float64)
    return np.asarray(NEAR_M * FAR_M / (NEAR_M + value * (FAR_M - NEAR_M)), dtype=np.float32)


def expose(rgb: NDArray[np.uint8], sensor: Sensor) -> NDArray[np.uint8]:
    """Gain, gamma, white balance and noise of the camera's chip, uint8 (H, W, 3) in and out."""
    levels = np.linspace(0, 1, 256)[:, None] ** sensor.gamma * sensor.gain * np.asarray(sensor.balance)
    table = np.clip(levels * 255, 0, 255).astype(np.float32)
    image = np.empty(rgb.shape, dtype=np.float32)
    for channel in range(3):
        image[..., channel] = table[:, channel][rgb[..., channel]]
    image += _grain(rgb.shape[0], rgb.shape[1], sensor)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


_SPARE = 128


@functools.cache
def _grain_sheet(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal((height + _SPARE, width + _SPARE, 3), dtype=np.float32)


def _grain(height: int, width: int, sensor: Sensor) -> NDArray[np.float32]:
    """Noise cut out of a larger sheet at a random place: drawing it anew costs more than the rendering."""
    row, column = np.random.default_rng(sensor.seed).integers(0, _SPARE, 2)
    return np.asarray(
        _grain_sheet(height, width)[row : row + height, column : column + width] * np.float32(sensor.noise)
    )
