"""The node's health as ``diagnostic_msgs``, once a second: the node itself, then camera, commands and inputs."""

import socket
from collections.abc import Mapping, Sequence

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from segzero_ros.errors import RejectedInput
from segzero_ros.health import Diagnostic, Level
from segzero_ros.host.supervisor import HostState
from segzero_ros.ros.convert import safe_text
from segzero_ros.worker import Worker

PERIOD_S = 1.0


def node_diagnostic(
    state: str,
    bundle: str,
    fault: RejectedInput | None,
    worker: Worker | None,
    ignored: int,
    *,
    engines: str = "",
    host: HostState | None = None,
    following: str = "",
) -> Diagnostic:
    """Return the line about the node itself: life cycle, bundle, and what keeps it from working.

    ``ignored``: images that came while the node was not active. ``fault``: why the last configure failed. ``engines``:
    which ones these are and why. ``host``: where their own process is, None = they run in this one.
    ``following``: what becomes of another bundle.
    """
    values = {"state": state, "bundle": bundle or "none", "images_ignored_while_inactive": str(ignored)}
    stats = worker.stats() if worker is not None else None
    if stats is not None:
        values |= {
            "commands": str(stats.commands),
            "frames_dropped": str(stats.frames_dropped),
            "busy": str(stats.busy),
            "frames_looked_at_in_advance": str(stats.warmed),
            "engines": engines,
        }
    values |= _host_values(host, following)
    if fault is not None:
        return Diagnostic(Level.ERROR, "node", str(fault), values)
    if stats is not None and stats.engine_hung:
        return Diagnostic(Level.ERROR, "node", "an engine has not come back from a command; restart the node", values)
    if host is not None and host.phase in _HOST_LEVELS:
        again = " again" if host.phase == "restarting" else ""
        return Diagnostic(
            _HOST_LEVELS[host.phase], "node", f"the engines are being opened{again}: {host.detail}", values
        )
    if state != "active":
        return Diagnostic(Level.WARN, "node", f"{state}; commands are answered with NOT_ACTIVE", values)
    caution = (stats.degraded_reason if stats is not None else "") or following
    return Diagnostic(Level.WARN if caution else Level.OK, "node", caution or "active", values)


_HOST_LEVELS = {"restarting": Level.ERROR, "loading": Level.WARN}


def _host_values(host: HostState | None, following: str) -> dict[str, str]:
    if host is None:
        return {}
    values = {
        "engines_process": f"{host.phase} for {host.seconds:.0f} s",
        "engines_pid": str(host.pid or "another's"),
        "engines_restarts": str(host.restarts),
    }
    return values | ({"bundle_change": following} if following else {})


def diagnostics_message(stamp: Time, node: str, lines: Sequence[Diagnostic], counted_s: float) -> DiagnosticArray:
    """Convert a report. ``node``: its name with the namespace, which tells robots apart. ``counted_s``: since when."""
    array = DiagnosticArray(status=[_status(node, line, counted_s) for line in lines])
    array.header.stamp = stamp
    return array


def _status(node: str, line: Diagnostic, counted_s: float) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=bytes([line.level]),
        name=f"{node}: {line.name}",
        message=safe_text(line.message),
        hardware_id=safe_text(f"{socket.gethostname()}:{node}"),
        values=_pairs({**line.values, "counted_for_s": f"{counted_s:.0f}"}),
    )


def _pairs(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=safe_text(key), value=safe_text(value)) for key, value in values.items()]
