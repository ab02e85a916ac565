"""The node's configuration: one frozen dataclass, from which the ROS parameters are declared.

Each field carries its description and its range or choices; ``parameters()`` lists them as plain data, so that the
node's declarations, ``config/segzero.yaml`` and the README's table have one source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, cast

from segzero_ros.errors import Code, RejectedInput, nearest

Value = bool | int | float | str
BACKENDS = ("tensorrt", "onnx", "torch_cuda", "tensorrt_llm", "remote", "fake")  # modules of backends/


RENAMED: Mapping[str, str] = MappingProxyType({"speculate": "draft_tokens"})  # old name -> new; goes in 0.3


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: ``kind`` is bool, int, float or str; ``low``/``high`` inclusive, for numbers; ``choices`` for str.

    ``live``: it may be changed while the node runs; the others take effect at the next ``configure``.
    """

    name: str
    kind: type
    default: Value
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool

    def check(self, value: object) -> Value:
        """Return ``value`` as this parameter's kind or raise ``RejectedInput`` CONFIG_VALUE."""
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind:
            raise self._refused(value, self.kind.__name__)
        if self.choices and value not in self.choices:
            raise self._refused(value, " or ".join(self.choices), nearest(str(value), self.choices))
        if self.low is not None and self.high is not None and not self.low <= float(value) <= self.high:  # type: ignore[arg-type]
            raise self._refused(value, f"{self.low:g}..{self.high:g}")
        return value  # type: ignore[return-value]

    def _refused(self, value: object, wanted: str, hint: str = "") -> RejectedInput:
        return RejectedInput(Code.CONFIG_VALUE, f"got {self.name} = {value!r}"[:200] + f", want {wanted}{hint}")


def _text(default: str, description: str, *choices: str, live: bool = False) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices, "live": live})


def _flag(default: bool, description: str, *, live: bool = False) -> Any:
    return field(default=default, metadata={"description": description, "live": live})


def _number(default: float, low: float, high: float, description: str, *, live: bool = False) -> Any:
    return field(default=default, metadata={"description": description, "low": low, "high": high, "live": live})


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything that can be set about the node; times in seconds."""

    bundle: str = _text(
        "tabletop",
        "the models: a bundle's name, an absolute path or package://PKG/PATH; current = what `segzero bundle use` says",
        live=True,
    )
    backend: str = _text(
        "auto",
        "the reasoner's engine; auto takes the fastest that works",
        *("auto", *BACKENDS),
    )
    isolation: str = _text(
        "process",
        "where the engines run: a process of their own, which may crash, hang or be of another Python, or in_process",
        *("process", "in_process"),
    )
    engines: str = _text(
        "",
        "their environment (`segzero engines install`): a name or a path; empty = the fastest there is, or this Python",
    )
    host: str = _text("", "the socket of a `segzero host` that several nodes share; empty = a process of its own")
    provider: str = _text(
        "auto", "ONNX Runtime's provider; auto takes CUDA where it is", "auto", "cpu", "cuda", "tensorrt"
    )
    self_test: bool = _flag(True, "ask the bundle's self-test when engines are opened; wrong coordinates are refused")
    threads: int = _number(0, 0, 256, "CPU threads per engine; 0 = one per core, and one for small models")
    engine_dir: str = _text("", "where built TensorRT engines lie; empty = ~/.cache/segzero_ros/engines")
    model: str = _text("", "tensorrt_llm, torch_cuda: a checkpoint's directory; remote: the server's name of its model")
    server: str = _text("", "remote: the server's address, http://HOST:PORT/v1")
    server_timeout_sec: float = _number(10.0, 0.1, 600.0, "remote: a server silent for so long has stalled")
    fallback: bool = _flag(True, "remote: answer with the bundle's own reasoner when the server does not")
    constrained: bool = _flag(True, "keep answers to their grammar; what it forces goes in one pass")
    draft_tokens: int = _number(0, 0, 7, "tokens guessed ahead from the prompt per pass; 0 = none")
    encode_ahead: bool = _flag(True, "SAM 2, where it runs on the CPU, encodes the picture while the reasoner runs")
    warm_frame_hz: float = _number(
        0.0, 0.0, 60.0, "how often to prefill the newest frame while there is no command: quicker answers; 0 = never"
    )
    autostart: bool = _flag(True, "configure and activate at start, without a lifecycle manager")
    image_transport: str = _text("raw", "subscribe to image or to image/compressed", "raw", "compressed")
    image_qos: str = _text(
        "auto",
        "reliability asked of the camera; auto = reliable where it offers that",
        "auto",
        "best_effort",
        "reliable",
    )
    use_depth: bool = _flag(False, "subscribe to depth and camera_info and give 3-D positions")
    target_frame: str = _text(
        "", "the frame of target, grasps, cloud, detections3d and markers, by /tf; empty = the camera's optical frame"
    )
    gripper_width: float = _number(0.085, 0.0, 1.0, "metres that the gripper opens: wider grasps are left out")
    place_max_distance: float = _number(3.0, 0.1, 100.0, "metres: what is further away gets no place")
    place_max_size: float = _number(0.6, 0.01, 100.0, "metres: what is longer gets no place")
    place_min_height: float = _number(0.008, 0.0, 10.0, "metres above what is around it: what is flatter gets no place")
    place_min_points: int = _number(40, 10, 500, "points of depth that an object needs to get a place")
    place_min_depth: float = _number(0.3, 0.0, 1.0, "share of an object's pixels that need depth for it to get a place")
    track: bool = _flag(
        False, "follow what a command of the topic finds, on `tracks`; the action's goals say it", live=True
    )
    track_places: bool = _flag(
        False, "give what is followed boxes and grasps in each frame, too, as answers", live=True
    )
    carry_after_sec: float = _number(
        0.3, 0.0, 600.0, "an answer older than this when it is ready is followed to the newest frame; 0 = each one"
    )
    lost_sec: float = _number(2.0, 0.1, 600.0, "what has been hidden for so long is looked for again, or lost")
    reground_sec: float = _number(
        5.0, 0.0, 600.0, "how often at most the model looks again for what is lost; 0 = never"
    )
    busy_policy: str = _text("preempt", "what a second command does: end the first, or get BUSY", "preempt", "reject")
    timeout_sec: float = _number(30.0, 0.1, 3600.0, "a command's deadline, waiting included", live=True)
    stale_sec: float = _number(1.0, 0.05, 60.0, "a frame older than this is not looked at, and diagnostics warn")
    first_frame_sec: float = _number(5.0, 0.0, 600.0, "how long a command waits for a frame before NO_FRAME")
    thinking_budget: int = _number(256, 0, 4096, "thinking tokens per command; then the answer is asked for")
    label: str = _text("", "label of every instance; empty = the command's text")
    record: str = _text(
        "none",
        "the flight recorder: nothing, the last seconds before what fails, or that and every command with its picture",
        *("none", "failures", "all"),
    )
    record_dir: str = _text("", "where recordings are written; empty = ~/.local/state/segzero_ros/recordings")
    record_sec: float = _number(5.0, 0.1, 600.0, "how many of the last seconds are kept in memory for a failure")
    record_memory_mb: int = _number(200, 1, 100_000, "the most memory they take; the oldest go")
    record_max_mb: int = _number(2000, 8, 100_000, "the most that all recordings take on the disk; the oldest go")
    overlay_quality: int = _number(80, 1, 100, "JPEG quality of overlay/compressed", live=True)

    def __post_init__(self) -> None:
        """Check every value, however the object was made; raises ``RejectedInput`` CONFIG_VALUE."""
        for parameter in parameters():
            parameter.check(getattr(self, parameter.name))
        if self.bundle.startswith("."):
            raise RejectedInput(
                Code.CONFIG_VALUE,
                f"got bundle = {self.bundle!r}, want an absolute path, package://PKG/PATH or a name: a node's working "
                "directory is not where you think",
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> "NodeConfig":
        """Return the configuration with ``values`` in place of the defaults; names of before are taken, too.

        Raises ``RejectedInput``: CONFIG_UNKNOWN with the nearest name, CONFIG_VALUE with the range.
        """
        known = {parameter.name: parameter for parameter in parameters()}
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        for name in values:
            if name not in known:
                raise RejectedInput(Code.CONFIG_UNKNOWN, f"got the parameter {name[:100]!r}{nearest(name, known)}")
        return cls(**{name: known[name].check(value) for name, value in values.items()})  # type: ignore[arg-type]


def parameters() -> tuple[Parameter, ...]:
    """Return every parameter of the node, in the order of ``NodeConfig``."""
    return _PARAMETERS


_PARAMETERS = tuple(
    Parameter(
        name=spec.name,
        kind=type(spec.default),
        default=cast(Value, spec.default),
        description=spec.metadata["description"],
        low=spec.metadata.get("low"),
        high=spec.metadata.get("high"),
        choices=spec.metadata.get("choices", ()),
        live=spec.metadata.get("live", False),
    )
    for spec in fields(NodeConfig)
)
