"""The owner's end: starts the recogniser's process, feeds it, hands on what it hears, and starts it again when it ends.

Threads: `segzero-hearing` starts the process and listens to it, `segzero-hearing-feed` sends audio.
Covered: a recogniser that crashes, hangs, or is slower than the speech. Lost with it is what was being said then.
"""

import contextlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import RATE_HZ, Samples, to_pcm16
from segzero_ros.hearing.events import Event, from_json
from segzero_ros.hearing.process import protocol
from segzero_ros.hearing.settings import HearingSettings

QUEUE_S = 120.0  # of audio that waits here for a process that starts or is behind; more is dropped, and counted
PIECE = RATE_HZ // 2  # samples to a frame at most
START_S = 120.0  # for the process to open a large model
HANG_S = 60.0  # without a word while there is audio to work off
AGAIN_S = (1.0, 30.0)  # before it is started again: at first, and at most
END_S = 2.0
_POLL_S = 0.1

OnEvent = Callable[[Event], None]
OnState = Callable[[str], None]


def command_line(python: Path) -> tuple[str, ...]:
    """Return the words that start a recogniser under the interpreter ``python``, without its --fd."""
    return str(python), "-m", "segzero_ros.hearing.process.child"


class Hearing:
    """A stream of audio to a recogniser in a process of its own. Callbacks come from a thread of its own.

    ``on_state`` gets a line whenever something about the process changes: "" when it is ready, else what is wrong.
    """

    def __init__(self, settings: HearingSettings, command: Sequence[str], on_event: OnEvent, on_state: OnState) -> None:
        """``command``: of `command_line`, what starts the process."""
        self._settings = settings
        self._program = tuple(command)
        self._on_event, self._on_state = on_event, on_state
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._waiting = 0  # samples in the queue
        self._unheard = 0  # samples sent and not yet worked off
        self._is_over = False  # the end was sent, or is being sent
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._ready = threading.Event()
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.dropped_s = 0.0
        self.starts = 0
        self.fault: RejectedInput | None = None
        self._threads = [
            threading.Thread(target=self._supervise, name="segzero-hearing", daemon=True),
            threading.Thread(target=self._feed, name="segzero-hearing-feed", daemon=True),
        ]

    def start(self) -> None:
        """Start the process; returns at once."""
        for thread in self._threads:
            thread.start()

    @property
    def process_id(self) -> int:
        """Of the recogniser's process; 0 if there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until the model is open; ``RejectedInput`` where it cannot be, or not in time."""
        end = time.monotonic() + timeout_s
        while not self._ready.wait(_POLL_S):
            if self.fault is not None:
                raise self.fault
            if time.monotonic() > end:
                raise RejectedInput(Code.HOST_UNUSABLE, f"the recogniser is not ready after {timeout_s:.0f} s")

    def feed(self, samples: Samples, *, wait: bool = False) -> None:
        """Hand on samples. Where too many wait already they are dropped and counted, or waited for with ``wait``."""
        for start in range(0, len(samples), PIECE):
            piece = samples[start : start + PIECE]
            while wait and self._is_full() and not self._stopping.is_set() and self.fault is None:
                time.sleep(_POLL_S / 5)
            with self._lock:
                if self._is_full():
                    self.dropped_s += len(piece) / RATE_HZ
                    continue
                self._waiting += len(piece)
            self._queue.put(to_pcm16(piece))

    def finish(self, timeout_s: float = 600.0) -> None:
        """The stream is over: wait for everything that was said; ``RejectedInput`` where it does not come."""
        self._queue.put(None)
        end = time.monotonic() + timeout_s
        while not self._done.wait(_POLL_S):
            if self.fault is not None:
                raise self.fault
            if time.monotonic() > end:
                raise RejectedInput(Code.HOST_UNUSABLE, f"the recogniser did not come to an end in {timeout_s:.0f} s")

    def close(self) -> None:
        """End the process and the threads."""
        self._stopping.set()
        self._queue.put(None)
        self._end_process()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(END_S)

    def _is_full(self) -> bool:
        return self._waiting > QUEUE_S * RATE_HZ

    # ---- the process ----

    def _supervise(self) -> None:
        """Start the process again and again until the end, or a fault that another start would not mend."""
        delay_s = AGAIN_S[0]
        while not self._stopping.is_set() and not self._done.is_set():
            began = time.monotonic()
            why = self._run_once()
            self._ready.clear()
            if self._stopping.is_set() or self._done.is_set():
                return
            if self.fault is not None:
                self._on_state(str(self.fault))
                return
            delay_s = AGAIN_S[0] if time.monotonic() - began > AGAIN_S[1] else min(2 * delay_s, AGAIN_S[1])
            self._on_state(f"the recogniser {why}; what was being said is lost, it starts again in {delay_s:.0f} s")
            self._stopping.wait(delay_s)

    def _run_once(self) -> str:
        """Start the process and listen to it; return how it ended."""
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [*self._program, "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the owner's to handle
                env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
            )
        except OSError as error:
            ours.close()
            self.fault = RejectedInput(Code.HOST_UNUSABLE, f"the Python {self._program[0]} does not start ({error})")
            return "does not start"
        finally:
            theirs.close()
        self.starts += 1
        with self._lock:
            self._unheard = 0
        if self._is_over:
            self._queue.put(None)  # the process that was told has ended without a word
        try:
            ours.sendall(protocol.encode(protocol.SETTINGS, json.dumps(asdict(self._settings)).encode()))
            why = self._listen(ours)
        except (OSError, protocol.ProtocolError, ValueError) as error:
            why = f"does not speak as it should ({str(error)[:100]})"
        self._ready.clear()
        self._sock = None
        ended = self._end_process(0.0 if why or self._stopping.is_set() else END_S)
        ours.close()
        return why or ended

    def _listen(self, sock: socket.socket) -> str:
        """Take in what the process says until it ends; return what is wrong with it, "" if it just ended."""
        reader, heard = protocol.Reader(), time.monotonic()
        while not self._stopping.is_set():
            if not select.select([sock], [], [], 1.0)[0]:
                silent_s = time.monotonic() - heard
                if silent_s > (HANG_S if self._ready.is_set() else START_S) and self._owes_a_word():
                    return f"was silent for {silent_s:.0f} s"
                continue
            data = sock.recv(1 << 16)
            if not data:
                return ""
            heard = time.monotonic()
            for kind, body in reader.feed(data):
                self._take(kind, body, sock)
        return ""

    def _owes_a_word(self) -> bool:
        return self._unheard > 0 or not self._ready.is_set()

    def _take(self, kind: bytes, body: bytes, sock: socket.socket) -> None:
        if kind == protocol.READY:
            self._sock = sock
            self._ready.set()
            self._on_state("")
        elif kind == protocol.EVENT:
            self._on_event(from_json(body))
        elif kind == protocol.LEVEL:
            with self._lock:
                self._unheard -= int(body)
        elif kind == protocol.FAULT:
            code, detail = json.loads(body)
            self.fault = RejectedInput(Code(code), str(detail))
        elif kind == protocol.DONE:
            self._done.set()

    def _end_process(self, patience_s: float = 0.0) -> str:
        """End the process, by force after ``patience_s``, and say how it ended."""
        process = self._process
        if process is None:
            return "did not start"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        if process.poll() is None:
            process.kill()
        status = process.wait()
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    # ---- the feed ----

    def _feed(self) -> None:
        """Send what waits, whenever there is a process that listens."""
        while not self._stopping.is_set():
            piece = self._queue.get()
            self._is_over |= piece is None
            body = protocol.encode(protocol.AUDIO, piece) if piece is not None else protocol.encode(protocol.END)
            while not self._stopping.is_set() and not self._send(body):
                if self.fault is not None:
                    return
                self._ready.wait(_POLL_S)
            with self._lock:
                self._waiting -= len(piece or b"") // 2

    def _send(self, data: bytes) -> bool:
        sock = self._sock
        if sock is None:
            return False
        try:
            sock.sendall(data)
        except OSError:
            self._sock = None
            return False
        with self._lock:
            self._unheard += max(0, len(data) - protocol.HEAD_BYTES) // 2
        return True
