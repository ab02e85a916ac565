"""The host's process: sockets around a room. One thread waits for all clients; the engines have another.

Covered: clients that send nonsense, nothing or too much, that do not read, that leave at any moment or are somebody
else; an engine that hangs: its command ends with TIMEOUT and then the process, for a hung thread cannot be had back; so
does one that holds Python's lock (faulthandler's own thread ends the process). A host that was started by a node ends
with it.
"""

import contextlib
import faulthandler
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from segzero_ros import __version__
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host import messages
from segzero_ros.host.messages import Fault, Hello, Message, ProtocolError
from segzero_ros.host.protocol import PROTOCOL, Reader, encode
from segzero_ros.host.room import Guest, Room
from segzero_ros.host.sockets import peer_uid

HUNG = 70  # exit status: an engine did not come back
TICK_S = 0.25  # a command that hangs is noticed so late
FROZEN_S = 20.0  # nothing in Python moves for so long: an engine holds its lock
MAX_CLIENTS = 32
MAX_BACKLOG_BYTES = 8 << 20  # what a client may leave unread
MAX_FDS = 4
LAST_S = 0.5  # for the last words to clients when the process ends
_log = logging.getLogger(__name__)


class Session:
    """One connection; ``say`` may be called from any thread."""

    def __init__(self, sock: socket.socket, wake: Callable[[], None]) -> None:
        sock.setblocking(False)
        self.sock, self._wake = sock, wake
        self.reader, self.fds = Reader(), deque[int]()
        self.guest: Guest | None = None
        self.greeted = self.closing = self.gone = False
        self.told_open = False
        self._lock = threading.Lock()
        self._unsent = bytearray()

    @property
    def backlog(self) -> int:
        """Bytes that the client has not taken yet."""
        return len(self._unsent)

    def say(self, *said: Message) -> None:
        """Send messages, now or when the client reads; a client that leaves too much unread is given up."""
        with contextlib.suppress(ProtocolError), self._lock:
            for message in said:
                self._unsent += encode(message)
            if len(self._unsent) > MAX_BACKLOG_BYTES:
                self.gone = True
            self._send()
        if self._unsent or self.gone:
            self._wake()

    def flush(self) -> None:
        """Send what is left; in the loop."""
        with self._lock:
            self._send()

    def _send(self) -> None:
        try:
            while self._unsent and not self.gone:
                del self._unsent[: self.sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True

    def receive(self) -> bytes:
        """Return what has come, b"" at the end, and keep the file descriptors beside it."""
        data, fds, _, _ = socket.recv_fds(self.sock, 1 << 16, MAX_FDS)
        self.fds.extend(fds)
        if len(self.fds) > MAX_FDS:
            raise ProtocolError("got more file descriptors than messages for them")
        return data

    def close(self) -> None:
        """End the connection and what it asked for."""
        if self.guest is not None:
            self.guest.leave()
        while self.fds:
            os.close(self.fds.popleft())
        self.sock.close()


class Server:
    """Serves a room's engines until it is told to stop, or its owner leaves."""

    def __init__(
        self,
        room: Room,
        *,
        listener: socket.socket | None = None,
        owner: socket.socket | None = None,
        guard: bool = False,
    ) -> None:
        """``listener``: where clients come; ``owner``: the connection of the node that started this process.

        ``guard``: end the process when nothing in it moves for FROZEN_S while the engines are open.
        """
        self._guard = guard
        self._room = room
        self._selector = selectors.DefaultSelector()
        self._sessions: set[Session] = set()
        self._stopping = False
        self._count = 0
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        if listener is not None:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        self._listener = listener
        self._owner = self._add(owner) if owner is not None else None

    def stop(self) -> None:
        """End ``run`` soon; from any thread or a signal handler."""
        self._stopping = True
        self._wake()

    def run(self) -> None:
        """Serve; returns when stopped."""
        self._room.when_open(self._wake)
        due = 0.0
        while not self._stopping:
            for key, _ in self._selector.select(TICK_S):
                self._serve(key.fileobj)
            self._settle()
            if time.monotonic() >= due:
                due = time.monotonic() + TICK_S
                self._tick()
        self._room.queue.stop(LAST_S)
        self._settle()
        if self._guard:
            faulthandler.cancel_dump_traceback_later()

    # ---- one turn of the loop ----

    def _serve(self, fileobj: object) -> None:
        if fileobj is self._woken:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
        elif fileobj is self._listener:
            self._accept(cast(socket.socket, fileobj))
        else:
            session = next((one for one in self._sessions if one.sock is fileobj), None)
            if session is not None:
                self._read(session)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            if peer_uid(sock) not in (os.getuid(), 0) or len(self._sessions) >= MAX_CLIENTS:
                sock.close()
            else:
                self._add(sock)

    def _add(self, sock: socket.socket) -> Session:
        session = Session(sock, self._wake)
        self._count += 1
        session.guest = Guest(self._room, f"client {self._count}", session)
        self._sessions.add(session)
        self._selector.register(sock, selectors.EVENT_READ)
        return session

    def _read(self, session: Session) -> None:
        session.flush()
        try:
            data = session.receive()
            session.gone |= not data
            for message in session.reader.feed(data):
                if not session.closing:
                    self._handle(session, message)
        except BlockingIOError:
            pass
        except RejectedInput as error:
            self._refuse(session, error)
        except ProtocolError as error:
            self._refuse(session, RejectedInput(Code.HOST_UNUSABLE, f"the host does not understand: {error}"))
        except OSError:
            session.gone = True

    def _refuse(self, session: Session, error: RejectedInput) -> None:
        session.say(Fault(int(error.code), error.detail))
        session.closing = True

    def _handle(self, session: Session, message: Message) -> None:
        if not session.greeted:
            self._greet(session, message)
        elif isinstance(message, messages.Open):
            if session is not self._owner:
                raise RejectedInput(Code.HOST_UNUSABLE, "only who started this host says what it opens")
            self._room.open(message)
            self._room.when_open(self._wake)
        elif isinstance(message, messages.Ask) and session is not self._owner:
            raise RejectedInput(Code.HOST_UNUSABLE, "only who started this host asks its reasoner for others")
        else:
            _obey(cast(Guest, session.guest), session, message, self._room)

    def _greet(self, session: Session, hello: Message) -> None:
        if not isinstance(hello, Hello):
            raise ProtocolError("got no Hello first")
        session.say(Hello(PROTOCOL, __version__, f"host {os.getpid()}"))
        session.greeted = True
        if hello.protocol != PROTOCOL:
            raise RejectedInput(
                Code.HOST_UNUSABLE,
                f"the node speaks protocol {hello.protocol} (segzero_ros {hello.version}), the host {PROTOCOL} "
                f"({__version__}); install the same version at both ends: segzero engines install",
            )

    def _settle(self) -> None:
        """Send what is left, watch for room in the sockets of those who read slowly, and forget who is gone."""
        for session in list(self._sessions):
            session.flush()
            if session.gone or (session.closing and not session.backlog):
                self._sessions.discard(session)
                self._selector.unregister(session.sock)
                session.close()
                self._stopping |= session is self._owner
                continue
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if session.backlog else 0)
            if self._selector.get_key(session.sock).events != events:
                self._selector.modify(session.sock, events)
            if session.greeted and not session.told_open and not isinstance(self._room.state(), messages.Loading):
                session.told_open = True
                session.say(self._room.state())

    def _tick(self) -> None:
        now = time.monotonic_ns()
        self._room.queue.expire(now)
        hung = self._room.hung(now)
        if hung is not None:
            self._end_hung(hung.on_end)
        state = self._room.state()
        if isinstance(state, messages.Loading):
            for session in self._sessions:
                if session.greeted:
                    session.say(state)
        elif self._guard:
            faulthandler.dump_traceback_later(FROZEN_S, exit=True)

    def _end_hung(self, on_end: Callable[[object], None]) -> None:
        """Say so to whoever waits for it, and end the process."""
        _log.error("an engine does not come back; the host ends, to be started again")
        on_end(RejectedInput(Code.TIMEOUT, "the engine hung and was ended; send the command again"))
        until = time.monotonic() + LAST_S
        while any(session.backlog and not session.gone for session in self._sessions) and time.monotonic() < until:
            for session in self._sessions:
                session.flush()
            time.sleep(0.01)
        os._exit(HUNG)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"x")


def _obey(guest: Guest, session: Session, message: Message, room: Room) -> None:
    if isinstance(message, messages.Map):
        if not session.fds:
            raise ProtocolError("got Map without a file descriptor")
        guest.map(message, session.fds.popleft())
    elif isinstance(message, messages.Picture):
        guest.place(message)
    elif isinstance(message, messages.Ground):
        guest.ground(message)
    elif isinstance(message, (messages.Track, messages.Prompt)):
        guest.track(message) if isinstance(message, messages.Track) else guest.prompt(message)
    elif isinstance(message, messages.Ask):
        guest.ask(message)
    elif isinstance(message, messages.Look):
        guest.look(message)
    elif isinstance(message, messages.Cancel):
        guest.cancel(message.id)
    elif isinstance(message, messages.Ping):
        queue = room.queue
        session.say(messages.Pong(message.number, 1e3 * queue.running_s, queue.waiting, room.degraded))
    else:
        raise ProtocolError(f"got {type(message).__name__}, which is the host's to say")
