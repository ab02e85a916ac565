"""The node's end of a connection to a host: sends messages, and hands what comes to whoever waits for it."""

import array
import contextlib
import itertools
import queue
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from segzero_ros import __version__
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host import messages
from segzero_ros.host.messages import Fault, Hello, Loading, Message, Opened, ProtocolError
from segzero_ros.host.pixels import Ring
from segzero_ros.host.process import Started
from segzero_ros.host.protocol import PROTOCOL, Reader, encode

SEND_S = 2  # a host that reads nothing for so long is lost
HELLO_S = 30.0  # for Python to start on a slow machine
SLOTS = 4  # pictures on their way: one at work, one prefilled, one that comes
_RINGS = itertools.count(1)
_REPLIES = (
    *(messages.Stage, messages.Text, messages.Result, messages.Looked, messages.Tracked),
    *(messages.Answered, messages.Refused),
)


class Replies(Protocol):
    """Takes the messages that answer a question, in order, and None once the connection has ended."""

    def put(self, reply: Message | None) -> None:
        """Take the next one."""
        ...


@dataclass(slots=True, eq=False)
class Call:
    """A question on its way. ``replies``: where its messages go."""

    id: int
    ring: Ring
    slot: int
    replies: Any


class Link:
    """One connection; ``listen`` runs in a thread of the owner's, everything else may be called from any."""

    def __init__(self, started: Started, *, slots: int = SLOTS) -> None:
        """``slots``: pictures that may be on their way at a time."""
        self.started, self._slots = started, slots
        self._sock = sock = started.sock
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
        self._sending, self._lock = threading.Lock(), threading.Lock()
        self._ids = itertools.count(1)
        self._kept = b""  # said already, and sent before the next message
        self._calls: dict[int, Call] = {}
        self._ring: Ring | None = None
        self.ended = False
        self.heard_s = time.monotonic()
        self.greeting: Hello | None = None
        self.loading = ""
        self.opened: Opened | None = None
        self.fault: RejectedInput | None = None
        self.degraded = ""
        self.results = 0  # commands that ended here
        self.changed = threading.Event()

    def hello(self, name: str) -> None:
        """Say the first word."""
        self.send(Hello(PROTOCOL, __version__, name))

    def send(self, message: Message, fd: int | None = None) -> None:
        """Send ``message``; a host that is gone or reads nothing is no error here: its end is noticed by ``listen``."""
        data = encode(message)
        with self._sending, contextlib.suppress(OSError):
            data, self._kept = self._kept + data, b""
            if fd is not None:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                data = data[self._sock.sendmsg([data], rights) :]
            self._sock.sendall(data)
            return
        self.close()

    def listen(self) -> None:
        """Take in what the host says until the connection ends; then every call has its last reply."""
        reader = Reader()
        try:
            while data := self._sock.recv(1 << 16):
                for message in reader.feed(data):
                    self._take(message)
        except OSError:
            pass
        except ProtocolError as error:
            self.fault = self.fault or RejectedInput(
                Code.HOST_UNUSABLE, f"the host does not speak as it should: {error}"
            )
        with self._lock:
            self.ended = True
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            call.replies.put(None)
        self.changed.set()
        self.close()

    def close(self) -> None:
        """End the connection; ``listen`` returns."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def give_up(self) -> None:
        """End the connection and our own process, which does not come back."""
        self.started.kill()
        self.close()

    def _take(self, message: Message) -> None:
        self.heard_s = time.monotonic()
        if self.greeting is None:
            self._greeted(message)
        elif isinstance(message, Loading):
            self.loading = message.what
        elif isinstance(message, Opened):
            self.opened = message
            self.changed.set()
        elif isinstance(message, Fault):
            self.fault = self.fault or RejectedInput(Code(message.code), message.detail)
            self.changed.set()
        elif isinstance(message, messages.Pong):
            self.degraded = message.degraded
        elif isinstance(message, _REPLIES):
            call = self._calls.get(message.id)
            self.results += isinstance(message, (messages.Result, messages.Answered))
            if isinstance(message, messages.Result):
                self.degraded = message.degraded
            if call is not None:
                call.replies.put(message)
        else:
            raise ProtocolError(f"{type(message).__name__} is the node's to say")

    def _greeted(self, message: Message) -> None:
        if not isinstance(message, Hello):
            raise ProtocolError("there is no segzero host at the other end")
        self.greeting = message
        if message.protocol != PROTOCOL:
            self.fault = RejectedInput(
                Code.HOST_UNUSABLE,
                f"the host speaks protocol {message.protocol} (segzero_ros {message.version}), this node {PROTOCOL} "
                f"({__version__}); install the same version at both ends: segzero engines install",
            )
        self.changed.set()

    # ---- pictures and calls ----

    def begin(self, frame: Frame, replies: Replies | None = None) -> Call:
        """Put ``frame`` into shared memory and return a call about it, to be ended; ``NoRoom`` while all slots wait.

        ``replies``: gets the answers, in the thread of ``listen``; None: a queue of the call's own.
        """
        with self._lock:
            slot = self._ring.find(frame) if self._ring is not None else None
            ring = self._ring
            if ring is None or slot is None:
                ring, slot = self._place(frame)
            ring.hold(slot)
            call = Call(next(self._ids), ring, slot, replies or queue.SimpleQueue())
            if self.ended:
                call.replies.put(None)
            else:
                self._calls[call.id] = call
            return call

    def _place(self, frame: Frame) -> tuple[Ring, int]:
        """Send ``frame``, after new memory where it does not fit into what there is; the lock is held."""
        width, height = frame.size
        ring = self._ring
        if ring is None or ring.pixels < width * height:
            page = 4096
            ring = Ring(next(_RINGS), self._slots, -(-width * height // page) * page)
            self.send(ring.as_message(), ring.fd)
            self._ring = ring
        picture = ring.place(frame, next(self._ids))
        with self._sending:
            self._kept += encode(picture)  # its question follows at once: one message to wake the host for
        return ring, picture.slot

    def end(self, call: Call) -> None:
        """Forget ``call``; its slot may be written to again."""
        with self._lock:
            self._calls.pop(call.id, None)
            call.ring.release(call.slot)
