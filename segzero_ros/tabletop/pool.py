"""The simple world's things in MuJoCo's model: a few copies of every kind, hidden until a scene wants them."""

from __future__ import annotations

import mujoco
import numpy as np

from segzero_ros.tabletop.scene import MAX_SAME_KIND, Thing, rotation_of
from segzero_ros.tabletop.things import KINDS, Kind, meshes, role_colour

HIDDEN = (0.0, 0.0, 0.0, 0.0)  # MuJoCo does not draw what is fully transparent
SHINE: dict[Kind, float] = {
    "mug": 0.4,
    "bottle": 0.6,
    "can": 0.5,
    "bowl": 0.4,
    "plate": 0.4,
    "ball": 0.5,
    "book": 0.1,
    "box": 0.05,
    "plant": 0.1,
    "lamp": 0.15,
}


def add_pool(spec: mujoco.MjSpec) -> None:
    """Put every kind into the model, as often as a scene may have it."""
    for kind in KINDS:
        spec.add_material(name=kind, specular=SHINE[kind], shininess=0.5)
    spec.add_material(name="glow", emission=0.8)
    for kind in KINDS:
        _add_kind(spec, kind)


def _add_kind(spec: mujoco.MjSpec, kind: Kind) -> None:
    for part, mesh in enumerate(meshes(kind)):
        spec.add_mesh(
            name=f"{kind}{part}",
            uservert=mesh.vertices.ravel(),
            usernormal=mesh.normals.ravel(),
            userface=mesh.faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        material = "glow" if mesh.role == "glow" else kind
        for copy in range(MAX_SAME_KIND):
            spec.worldbody.add_geom(
                name=f"{kind}{copy}.{part}",
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=f"{kind}{part}",
                material=material,
                rgba=HIDDEN,
                contype=0,
                conaffinity=0,
            )


class Pool:
    """The geoms of the things in the model: which copy of which kind shows which thing of the scene."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._geoms = {
            (k, c): [model.geom(f"{k}{c}.{p}").id for p in range(len(meshes(k)))]
            for k in KINDS
            for c in range(MAX_SAME_KIND)
        }
        self.owner = np.zeros(model.ngeom, dtype=np.uint8)
        self._used: dict[Kind, int] = {}
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        # MuJoCo moves every mesh into its own principal axes; these take the vertices back to where they were made.
        self._mesh_rotation = data.geom_xmat.reshape(-1, 3, 3).copy()
        self._mesh_offset = data.geom_xpos.copy()

    def clear(self) -> None:
        """Hide everything."""
        for geoms in self._geoms.values():
            self._model.geom_rgba[geoms] = HIDDEN
        self.owner[:] = 0
        self._used = {}

    def show(self, thing: Thing, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Let the next free copy of its kind be this thing. ValueError when all copies are in use."""
        copy = self._used.get(thing.kind, 0)
        if copy >= MAX_SAME_KIND:
            raise ValueError(f"more than {MAX_SAME_KIND} things of kind {thing.kind} in one scene")
        self._used[thing.kind] = copy + 1
        pose = rotation_of(thing.quaternion) * np.asarray(thing.scale)  # the matrix MuJoCo hands to OpenGL may stretch
        for mesh, geom in zip(meshes(thing.kind), self._geoms[thing.kind, copy], strict=True):
            model.geom_rgba[geom] = (*role_colour(mesh.role, thing.rgb), 1.0)
            data.geom_xpos[geom] = pose @ self._mesh_offset[geom] + thing.position
            data.geom_xmat[geom] = (pose @ self._mesh_rotation[geom]).ravel()
            self.owner[geom] = thing.id
