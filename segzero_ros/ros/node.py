"""The node: a lifecycle around camera, command server, worker and outputs, which starts itself.

    unconfigured --configure--> inactive     open the bundle, its engines and the camera's topics
    inactive --activate--> active            images and commands are taken
    active --deactivate--> inactive          jobs end, engines stay
    inactive --cleanup--> unconfigured       engines are freed

Whatever the state, commands are answered and diagnostics published: a robot that receives nothing cannot tell a fault
from a pause. One thread, the executor's, calls ROS; one, the worker's, the engines. No exception leaves a callback.
"""

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from segzero_ros.command import Command
from segzero_ros.config import NodeConfig
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.health import TOO_MANY_COMMANDS, Diagnostic, Health, Level
from segzero_ros.host.start import open_here, start_host
from segzero_ros.host.supervisor import HostState
from segzero_ros.host.switching import Start, SwitchingPipeline
from segzero_ros.pipeline import Pipeline, unanswered
from segzero_ros.ros.camera import Camera, CameraFrame, incompatible_publishers, qos_events
from segzero_ros.ros.command_server import CommandServer
from segzero_ros.ros.diagnostics import PERIOD_S, diagnostics_message, node_diagnostic
from segzero_ros.ros.executor import guard
from segzero_ros.ros.executor.loading import Cancelled, run_cancellable
from segzero_ros.ros.executor.lost import LostMessages
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.ros.outputs import Outputs
from segzero_ros.ros.parameters import Parameters
from segzero_ros.ros.processes import NODE
from segzero_ros.ros.qos import topic_qos
from segzero_ros.ros.recording import FlightRecorder
from segzero_ros.ros.segment_action import SegmentAction
from segzero_ros.tracking.following import Following
from segzero_ros.worker import Grounder, Worker

OpenEngines = Callable[[NodeConfig], tuple[str, Pipeline]]

MAX_ID_CHARS = 100  # of a command's id, which is 32 of ours
WARN_PERIOD_S = 10.0  # a camera at the edge of stale_sec must not fill the log
HOST_ENDING_S = 0.3  # for a command to be cancelled between two tokens; then its process is ended
ENDING_S = 1.0  # for an engine to come back when the process ends: a token takes a tenth of that
_UNCONFIGURED = "the node is unconfigured; configure it with the service `enable`"
_INACTIVE = "the node is inactive; activate it with the service `enable`"


class GroundingNode(LifecycleNode):  # type: ignore[misc]
    """Turns frames and commands into masks and reasoning; see the module's docstring."""

    def __init__(
        self,
        *,
        open_engines: OpenEngines | None = None,
        stopping: threading.Event | None = None,
        arguments: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """``open_engines``: opens them in this process, whatever ``isolation`` says. ``stopping``: gives that up.

        ``arguments``: the process' command line. ``options``: those of ``rclpy.node.Node``.
        """
        super().__init__(options.pop("node_name", NODE), **options)
        self._stopping = stopping or threading.Event()
        self._open_engines = open_engines
        self._settings = Parameters(self, [*arguments, *(options.get("cli_args") or ())])
        self._health = Health(self._settings.value("stale_sec"))
        self._queue = ExecutorQueue(self)
        self._recorder = FlightRecorder(self, self._queue)
        self._outputs = Outputs(self, self._settings, self._health, self._queue, self._recorder.note)
        report = functools.partial(guard.report, self)
        publish, on_progress, log = self._outputs.publish_answer, self._outputs.publish_progress, self.get_logger().info
        recording = self._recorder.note_command, self._recorder.note_answer
        self._commands = CommandServer(self._queue, self._health, publish, on_progress, report, log, *recording)
        self._commands.close(_UNCONFIGURED)
        self._camera: Camera | None = None
        self._worker: Worker | None = None
        self._follows: Following | None = None
        self._host: SwitchingPipeline | None = None
        self._fault: RejectedInput | None = None
        self._config = NodeConfig()  # of the last configure
        self._engines = self._not_taken = ""
        self._warned = ""
        self._first_frame_s = self._camera_due_s = 0.0
        self._create_interfaces()

    def _create_interfaces(self) -> None:
        """Make what is there in every state: command, action, services, diagnostics."""
        on_command, qos = guard.callback(self, self._on_command), topic_qos("command")
        self._command_qos, self._lost_commands = qos, LostMessages(qos.depth)
        events = qos_events(self, "command", qos, self._health)
        self.create_subscription(String, "command", on_command, qos, event_callbacks=events)
        self.create_subscription(String, "stop", guard.callback(self, self._on_stop), topic_qos("stop"))
        self._action = SegmentAction(self, self._commands, self._wrap, self._settings)
        self.create_service(SetBool, "enable", guard.service(self, self._on_enable))
        self.create_service(Trigger, "reset", guard.service(self, self._on_reset))
        self.create_service(Trigger, "save_failure", guard.service(self, lambda _request: self._recorder.save()))
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # ROS time may stand still: use_sim_time without /clock
        self.create_timer(PERIOD_S, guard.callback(self, self._on_timer), clock=steady)
        changing = self._service_change_state  # rclpy's; an invalid transition would end the node
        changing.callback = guard.change_state(self, changing.callback)
        if self._settings.value("autostart"):
            self._autostart_timer = self.create_timer(0.0, guard.callback(self, self._autostart), clock=steady)

    @property
    def state(self) -> str:
        """The label of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    @property
    def images_seen(self) -> int:
        """How many images have come since the last configure, good or bad, used or ignored."""
        return self._camera.seen if self._camera is not None else 0

    @property
    def busy(self) -> bool:
        """Whether an action goal still waits for its answer."""
        return self._action.waiting > 0

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """Set parameters one by one; see ``set_parameters_atomically``."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters, or refuse with a reason worth reading; rclpy's services come here, too."""
        parameter_list = self._settings.converted(parameter_list)
        reason = self._settings.refusal(parameter_list)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        bundle = next((change.value for change in parameter_list if change.name == "bundle"), None)
        try:
            if bundle is not None:
                self._change_bundle(bundle)
        except RejectedInput as error:
            return SetParametersResult(successful=False, reason=str(error))
        result = super().set_parameters_atomically(parameter_list)
        if result.successful:
            self._settings.note_set(parameter_list)
        return result

    def _change_bundle(self, bundle: str) -> None:
        """Open another bundle beside the one in use; ``RejectedInput`` where that cannot be."""
        if self._host is None:
            if self._worker is not None:
                self.get_logger().info(
                    "bundle is set; with isolation: in_process it takes effect at the next configure"
                )
        elif self._config.host:
            detail = f"the engines are those of {self._config.host}; start a host with the other bundle there"
            raise RejectedInput(Code.CONFIG_VALUE, detail)
        else:
            self._host.switch(self._hosted(replace(self._config, bundle=bundle)))

    # ---- lifecycle ----

    @guard.transition
    def on_configure(self) -> bool:
        """Open engines and camera; failing leaves the node unconfigured, with the reason in log and diagnostics."""
        try:
            config = self._settings.config()
            self._recorder.open(config)
            if self._open_engines is None and config.isolation == "process":
                self._start_host(config)
            else:
                opening = self._open_engines or open_here
                name, pipeline = run_cancellable(lambda: opening(config), self._stopping)
                self._set_up(config, pipeline)
                self._note_engines(name, pipeline.profile.name, pipeline.engines)
        except Cancelled:
            return False
        except RejectedInput as error:
            self._fault = error
        except Exception as error:  # noqa: BLE001
            self._fault = RejectedInput(Code.INTERNAL, guard.report(self, "configure", error))
        else:
            self._fault = None
            self._commands.close(_INACTIVE)
            return True
        self._release()
        self._commands.close(f"the node is unconfigured, since {self._fault}; mend it, then call `enable`")
        self.get_logger().error(f"configure failed, {self._fault}")
        return False

    @guard.transition
    def on_activate(self) -> bool:
        """Take images and commands."""
        if self._worker is None or self._camera is None:
            return False
        self._camera.active = True
        self._camera_due_s = time.monotonic() + self._first_frame_s
        self._commands.open(self._worker)
        self.get_logger().info("active: say what to find on the topic `command`, or send it to the action `segment`")
        return True

    @guard.transition
    def on_deactivate(self) -> bool:
        """End all jobs; engines and topics stay."""
        self._stop_work(_INACTIVE)
        return True

    @guard.transition
    def on_cleanup(self) -> bool:
        """Free the engines and leave the camera's topics."""
        self._release()
        return True

    @guard.transition
    def on_shutdown(self) -> bool:
        """Free everything, from whatever state."""
        self._stop_work("the node is shut down")
        self._release()
        self._commands.close("the node is shut down")
        return True

    def close(self) -> None:
        """End everything so that the node can be destroyed; every command has its answer then."""
        self._stop_work("the node is shutting down")
        self._release(ENDING_S)
        self._queue.drain()

    def destroy_node(self) -> None:
        """Close, then destroy."""
        self.close()
        self._outputs.close()
        self._queue.close()
        self._action.destroy()
        super().destroy_node()

    def _start_host(self, config: NodeConfig) -> None:
        """Have the engines opened in another process; they are ready later, or not at all (``_on_host``)."""
        host = SwitchingPipeline(
            self._hosted(config),
            on_change=lambda state: self._queue.post(lambda: self._on_host(host, state)),
            on_refused=lambda fault: self._queue.post(lambda: self._on_refused(host, fault)),
        )
        self._host, self._config, self._not_taken = host, config, ""
        self._set_up(config, host)
        self.get_logger().info("the engines are being opened in a process of their own")

    def _hosted(self, config: NodeConfig) -> Start:
        """Return what starts a host with the engines of ``config``."""
        return functools.partial(start_host, config, self.get_fully_qualified_name())

    def _on_refused(self, host: SwitchingPipeline, fault: RejectedInput) -> None:
        """Take note that another bundle did not pass: the one in use stays, and the parameter says so."""
        if host is not self._host:
            return
        self._not_taken = f"another bundle was not taken, {fault}"
        self.get_logger().error(f"{self._not_taken}; {self._outputs.bundle} goes on")
        super().set_parameters_atomically([Parameter("bundle", value=self._config.bundle)])
        self._publish_health()

    def _on_host(self, host: SwitchingPipeline, state: HostState) -> None:
        """Take note of what has become of the engines' process."""
        if host is not self._host:
            return
        if state.opened is not None and state.phase == "ready":
            self._note_engines(state.opened.bundle, state.opened.profile, state.opened.engines)
            self._config, self._not_taken = replace(self._config, bundle=self._settings.value("bundle")), ""
        elif state.phase == "failed":
            self._give_up(state.fault or RejectedInput(Code.HOST_UNUSABLE, state.detail))
        self._publish_health()

    def _note_engines(self, bundle: str, profile: str, engines: str) -> None:
        self._outputs.bundle, self._engines = bundle, engines
        self._recorder.note_engines(self._settings.value("bundle"), bundle, profile, engines)
        self.get_logger().info(f"configured: bundle {bundle}, profile {profile}, {engines}")

    def _give_up(self, fault: RejectedInput) -> None:
        """Go back to where `configure` is possible: the engines do not open."""
        for state, transition in (("active", self.trigger_deactivate), ("inactive", self.trigger_cleanup)):
            if self.state == state:
                transition()
        self._fault = fault
        self._commands.close(f"the node is unconfigured, since {fault}; mend it, then call `enable`")
        self.get_logger().error(f"configure failed, {fault}")

    def _set_up(self, config: NodeConfig, pipeline: Grounder) -> None:
        self._follows = Following(
            pipeline.new_tracker,
            self._outputs.publish_track,
            carry_after_s=config.carry_after_sec,
            lost_s=config.lost_sec,
            reground_s=config.reground_sec,
        )
        self._worker = Worker(
            pipeline,
            follower=self._follows,
            busy_policy="reject" if config.busy_policy == "reject" else "preempt",
            first_frame_wait_s=config.first_frame_sec,
            frame_max_age_s=config.stale_sec,
            warm_hz=config.warm_frame_hz,
            before_end=self._outputs.before_end,
        )
        self._health.expect_frames_within(config.stale_sec)
        self._first_frame_s = config.first_frame_sec  # a camera may start together with the node
        self._camera = Camera(self, config, self._health, self._worker, self._publish_health, self._recorder.note)

    def _stop_work(self, reason: str) -> None:
        """Close the command server, stop the worker's jobs and ignore the camera."""
        self._commands.close(reason)
        if self._follows is not None:
            self._follows.stop("")
        if self._camera is not None:
            self._camera.active = False
        if self._worker is not None:
            self._worker.reset()

    def _release(self, patience_s: float = 2.0) -> None:
        if self._worker is not None and not self._stop_worker(self._worker, patience_s):
            self.get_logger().error("an engine hangs and was left behind; restart the node to get its memory back")
        self._queue.drain()  # the answers of the jobs that were stopped
        self._recorder.close()
        if self._camera is not None:
            self._camera.close()
        self._worker = self._camera = self._host = self._follows = None
        self._outputs.bundle = self._engines = ""
        self._commands.close(_UNCONFIGURED)

    def _stop_worker(self, worker: Worker, patience_s: float) -> bool:
        """Stop the worker and the engines' process; True if nothing is left of them."""
        if self._host is None:
            return worker.stop(patience_s)
        stopped = worker.stop(min(patience_s, HOST_ENDING_S))
        self._host.close()  # which ends whatever the worker still waits for
        return stopped or worker.stop(patience_s)

    # ---- callbacks ----

    def _autostart(self) -> None:
        """Configure and activate without being asked, once."""
        self._autostart_timer.cancel()
        self._bring_up()

    def _on_command(self, message: String, info: Mapping[str, int]) -> None:
        lost = self._lost_commands.count(info.get("publication_sequence_number"), info.get("received_timestamp", 0))
        if lost:
            self._health.count_lost_commands(lost)
            self.get_logger().error(f"{lost} commands on `command` are lost, {TOO_MANY_COMMANDS}")
        self._recorder.note("command", message)
        timeout_s, track = self._settings.value("timeout_sec"), self._settings.value("track")
        self._commands.submit(message.data, timeout_s=timeout_s, track=track)

    def _on_stop(self, message: String) -> None:
        """Follow no longer; an id that is not followed is answered, too."""
        command_id = message.data.strip()[:MAX_ID_CHARS]
        code = self._follows.stop(command_id) if self._follows is not None else Code.TRACK_UNKNOWN
        if code is Code.OK or not command_id:
            return
        detail = f"got the command {command_id!r}, of which nothing is followed; an empty text stops all"
        self._outputs.publish_track(unanswered(Command(command_id, ""), code, detail), None)

    def _wrap(self, image: Image) -> CameraFrame | None:
        return self._camera.wrap(image) if self._camera is not None else None

    def _on_enable(self, request: SetBool.Request) -> tuple[bool, str]:
        """Activate, configuring first where needed, or deactivate."""
        if request.data:
            self._bring_up()
            return self.state == "active", str(self._fault or self.state)
        if self.state == "active":
            self.trigger_deactivate()
        return self.state != "active", self.state

    def _bring_up(self) -> None:
        if self.state == "unconfigured":
            self.trigger_configure()
        if self.state == "inactive":
            self.trigger_activate()

    def _on_reset(self, _request: Trigger.Request) -> tuple[bool, str]:
        """Cancel everything and forget the last frame."""
        if self._worker is None or self._camera is None:
            return True, "nothing to reset: the node is unconfigured"
        self._worker.reset()
        if self._follows is not None:
            self._follows.stop("")
        self._camera.forget()
        return True, "all commands are cancelled and the last frame is forgotten"

    def _on_timer(self) -> None:
        """Once a second: end jobs that are overdue, check the camera, publish diagnostics."""
        if self._worker is not None:
            self._worker.expire()
        self._health.note_qos("command", incompatible_publishers(self, "command", self._command_qos))
        if self._camera is not None:
            self._camera.check_publishers()
        self._publish_health()

    def _publish_health(self) -> None:
        """Publish diagnostics: once a second, and at once when the camera fails or works again."""
        lines = self._diagnostics()
        self._warn_about(lines)
        stamp = self.get_clock().now().to_msg()
        name, counted_s = self.get_fully_qualified_name(), self._health.counted_s
        self._outputs.publish_diagnostics(diagnostics_message(stamp, name, lines, counted_s))

    def _diagnostics(self) -> list[Diagnostic]:
        ignored = self._camera.ignored if self._camera is not None else 0
        line = node_diagnostic(
            self.state,
            self._outputs.bundle,
            self._fault,
            self._worker,
            ignored,
            engines=self._engines,
            host=self._host.state() if self._host is not None else None,
            following=self._following(),
        )
        return [line, *self._recorder.report(), *self._health.report()]

    def _following(self) -> str:
        """Say what becomes of another bundle than the one in use, "" = there is none."""
        state = self._host.next_state() if self._host is not None else None
        return f"another bundle is being opened: {state.detail}" if state is not None else self._not_taken

    def _warn_about(self, lines: list[Diagnostic]) -> None:
        """Log that the camera is silent or its QoS incompatible, once each time it becomes so."""
        if self.state != "active" or time.monotonic() < self._camera_due_s:
            return
        wrong = [line.message for line in lines if line.name == "camera" and line.level in (Level.ERROR, Level.STALE)]
        if wrong and not self._warned:
            self.get_logger().warning(f"camera: {wrong[0]}", throttle_duration_sec=WARN_PERIOD_S)
        self._warned = "; ".join(wrong)
