"""The rich world's things in MuJoCo's model: every form as a mesh, and a pool of bodies that become any of them."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.rich.finish import GLOSS, SIDE, paint
from segzero_ros.tabletop.rich.forms import CLUTTER, RICH_KINDS, SHAPES, clutter, form
from segzero_ros.tabletop.scene import Prop, Thing, rotation_of
from segzero_ros.tabletop.solids import Mesh
from segzero_ros.tabletop.things import role_colour

MOST_PARTS = 110  # meshes of one scene
MOST_THINGS = 20  # of one scene: each has a pattern and a gloss of its own
HIDDEN = (0.0, 0.0, 0.0, 0.0)
_NAMES = [(f"{kind}.{shape}", kind, shape) for kind in RICH_KINDS for shape in range(SHAPES)]


def add_rich_pool(spec: mujoco.MjSpec) -> None:
    """Put all forms, patterns and bodies into the model."""
    for slot in range(MOST_THINGS):
        spec.add_texture(
            name=f"pattern{slot}",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            width=SIDE,
            height=SIDE,
        )
        coat = spec.add_material(name=f"coat{slot}")
        coat.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"pattern{slot}"
        spec.add_material(name=f"bare{slot}")
    spec.add_material(name="matt", specular=0.1, shininess=0.2)
    spec.add_material(name="steel", specular=0.9, shininess=0.8)
    spec.add_material(name="glow", emission=0.8)
    for name, kind, shape in _NAMES:
        _add_meshes(spec, name, form(kind, shape).meshes)
    for litter in CLUTTER:
        _add_meshes(spec, litter, clutter(litter))
    for part in range(MOST_PARTS):
        spec.worldbody.add_geom(
            name=f"part{part}",
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname="mug.0/0",
            rgba=HIDDEN,
            contype=0,
            conaffinity=0,
        )


def _add_meshes(spec: mujoco.MjSpec, name: str, meshes: tuple[Mesh, ...]) -> None:
    for number, mesh in enumerate(meshes):
        wrapped = wrap(mesh)
        spec.add_mesh(
            name=f"{name}/{number}",
            uservert=mesh.vertices.ravel(),
            usernormal=mesh.normals.ravel(),
            userface=mesh.faces.ravel(),
            usertexcoord=wrapped.ravel(),
            userfacetexcoord=np.arange(len(wrapped)),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )


def wrap(mesh: Mesh) -> NDArray[np.float64]:
    """Where each corner of each face lies in a pattern, (3F, 2): the angle about the axis and the height, 0..1.

    Faces that look up or down are seen from above instead.
    """
    corners = mesh.vertices[mesh.faces]
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    size = np.maximum(high - low, 1e-6)
    angle = np.arctan2(corners[..., 1], corners[..., 0]) / (2 * np.pi)
    angle = angle[:, :1] + (angle - angle[:, :1] + 0.5) % 1 - 0.5  # no face runs backwards around the seam
    side = np.stack([angle, (corners[..., 2] - low[2]) / size[2]], axis=-1)
    across = max(size[0], size[1])
    above = (corners[..., :2] - (low[:2] + high[:2]) / 2) / across + 0.5
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = np.abs(normal[:, 2]) > 0.8 * np.linalg.norm(normal, axis=1)
    return np.asarray(np.where(flat[:, None, None], above, side).reshape(-1, 2))


class RichPool:
    """The bodies of the model: which part of which thing of the scene each of them is."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._first = int(model.geom("part0").id)
        self.owner = np.zeros(model.ngeom, dtype=np.uint8)
        self._used = self._slots = 0
        self._mesh = {name: model.mesh(f"{name}/0").id for name in [*(n for n, *_ in _NAMES), *CLUTTER]}
        self._texture = {slot: model.texture(f"pattern{slot}").id for slot in range(MOST_THINGS)}
        self._materials = {
            name: model.material(name).id
            for name in ["matt", "steel", "glow", *(f"{k}{s}" for k in ("coat", "bare") for s in range(MOST_THINGS))]
        }
        self.painted: list[int] = []

    def clear(self) -> None:
        """Hide everything."""
        self._model.geom_rgba[self._first : self._first + MOST_PARTS] = HIDDEN
        self.owner[:] = 0
        self._used = self._slots = 0
        self.painted = []

    def show(self, thing: Thing, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Let free bodies be the parts of this thing. ValueError when there are too few."""
        if thing.shape is None or self._slots == MOST_THINGS:
            raise ValueError(f"got {thing.kind!r}: want a thing of the rich world, at most {MOST_THINGS} in one scene")
        slot, gloss = self._slots, GLOSS[thing.finish]
        self._slots += 1
        pattern = paint(thing.finish, thing.rgb, thing.accent, thing.id)
        if pattern is not None:
            texture = self._texture[slot]
            start = model.tex_adr[texture]
            model.tex_data[start : start + pattern.size] = pattern.ravel()
            self.painted.append(texture)
        for kind in ("coat", "bare"):
            material = self._materials[f"{kind}{slot}"]
            model.mat_specular[material], model.mat_shininess[material] = gloss.specular, gloss.shininess
        meshes = form(thing.kind, thing.shape).meshes
        first = self._mesh[f"{thing.kind}.{thing.shape}"]
        for number, mesh in enumerate(meshes):
            geom = self._next(first + number, thing, data)
            self.owner[geom] = thing.id
            coated = mesh.role == "colour" and pattern is not None
            colour = (1.0, 1.0, 1.0) if coated else thing.accent if mesh.role == "accent" else None
            alpha = gloss.alpha if mesh.role == "colour" else 1.0
            model.geom_rgba[geom] = (*(colour or role_colour(mesh.role, thing.rgb)), alpha)
            model.geom_matid[geom] = self._materials[_material(mesh, slot, coated)]

    def litter(self, props: tuple[Prop, ...], model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Let free bodies be the clutter; it belongs to no thing."""
        for prop in props:
            for number, mesh in enumerate(clutter(prop.name)):
                geom = self._next(self._mesh[prop.name] + number, prop, data)
                model.geom_rgba[geom] = (*role_colour(mesh.role, prop.rgb), 1.0)
                model.geom_matid[geom] = self._materials["matt"]

    def _next(self, mesh: int, what: Thing | Prop, data: mujoco.MjData) -> int:
        if self._used == MOST_PARTS:
            raise ValueError(f"more than {MOST_PARTS} parts in one scene; ask for fewer things")
        geom = self._first + self._used
        self._used += 1
        model = self._model
        model.geom_dataid[geom] = mesh
        own = np.empty(9)
        mujoco.mju_quat2Mat(own, model.mesh_quat[mesh])  # MuJoCo moved every mesh into its principal axes
        pose = rotation_of(what.quaternion) * np.asarray(what.scale)  # the matrix handed to OpenGL may stretch
        data.geom_xpos[geom] = pose @ model.mesh_pos[mesh] + what.position
        data.geom_xmat[geom] = (pose @ own.reshape(3, 3)).ravel()
        return geom


def _material(mesh: Mesh, slot: int, coated: bool) -> str:
    if mesh.role == "glow":
        return "glow"
    if mesh.role in ("colour", "shade"):
        return f"{'coat' if coated else 'bare'}{slot}"
    return "steel" if mesh.role == "metal" else "matt"
