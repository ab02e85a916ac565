"""The recogniser's process: audio from a socket in, events out. `python -m segzero_ros.hearing.process.child --fd N`.

Three threads: one reads audio and finds where sentences begin and end, one looks for stop words, the main one writes
down whole sentences, which takes several times as long and must not hold up a "stop". It ends with its connection.
What is unsent when the owner reads nothing ends it too.
"""

import argparse
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import from_pcm
from segzero_ros.hearing.ear import Ear, Job
from segzero_ros.hearing.events import Event, to_json
from segzero_ros.hearing.process import protocol
from segzero_ros.hearing.process.protocol import ProtocolError
from segzero_ros.hearing.recogniser import Recogniser, VoiceActivity
from segzero_ros.hearing.settings import HearingSettings

MOST_BACKLOG_S = 60.0  # of speech that waits for the recogniser; beyond it no audio is read
Engine = Callable[[HearingSettings], tuple[Recogniser, VoiceActivity]]


def open_engine(settings: HearingSettings) -> tuple[Recogniser, VoiceActivity]:
    """Open the engine that the settings name."""
    from segzero_ros.hearing import whisper

    return whisper.open_recogniser(settings), whisper.SileroVoice()


class Child:
    """One connection and its ear."""

    def __init__(self, sock: socket.socket, engine: Engine = open_engine) -> None:
        self._sock = sock
        self._engine = engine
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._over = self._gone = self._failed = False
        self._reader = protocol.Reader()
        self._frames: list[tuple[bytes, bytes]] = []

    def run(self) -> int:
        """Serve until the connection ends; return the exit status."""
        try:
            kind, body = self._next_frame()
            if kind != protocol.SETTINGS:
                raise ProtocolError("the first word is no settings")
            settings = HearingSettings(**json.loads(body))
            recogniser, voice = self._engine(settings)
        except RejectedInput as fault:
            self._send(protocol.FAULT, json.dumps([int(fault.code), fault.detail]).encode())
            return 2
        except (EOFError, OSError):
            return 0
        except (ProtocolError, ValueError, TypeError) as error:
            print(f"hearing: {error}", file=sys.stderr)
            return 2
        self._ear = Ear(settings, voice)
        self._send(protocol.READY)
        for name, work in (("segzero-audio", self._listen), ("segzero-looks", partial(self._look, recogniser))):
            threading.Thread(target=work, name=name, daemon=True).start()
        self._work(recogniser, self._ear.next_text)
        if not self._gone:
            self._send(protocol.DONE)
        return 1 if self._failed else 0

    def _look(self, recogniser: Recogniser) -> None:
        """Look for stop words; where the engine fails at that, the process ends."""
        try:
            self._work(recogniser, self._ear.next_look)
        except BaseException:
            with self._changed:
                self._failed = self._gone = True
                self._changed.notify_all()
            raise

    def _work(self, recogniser: Recogniser, next_job: Callable[[], Job | None]) -> None:
        """Do jobs until the owner has left, or has said the end and everything is told."""
        while (job := self._wait_for(next_job)) is not None:
            transcript = recogniser.transcribe(job.samples, quick=job.quick)
            with self._changed:
                self._tell(self._ear.take(job, transcript))
                self._changed.notify_all()

    def _wait_for(self, next_job: Callable[[], Job | None]) -> Job | None:
        with self._changed:
            while not self._gone:
                job = next_job()
                if job is not None or (self._over and self._ear.is_idle):
                    return job
                self._changed.wait()
        return None

    def _listen(self) -> None:
        """Feed the ear what comes."""
        try:
            while True:
                kind, body = self._next_frame()
                if kind == protocol.AUDIO:
                    self._hear(body)
                elif kind == protocol.END:
                    with self._changed:
                        events, self._over = self._ear.finish(), True
                        self._tell(events)
                        self._changed.notify_all()
        except (EOFError, OSError):
            pass
        except (ProtocolError, RejectedInput) as error:
            print(f"hearing: {error}", file=sys.stderr)
        finally:  # of a defect of the engine, too: the process ends then, and is started again
            with self._changed:
                self._gone = True
                self._changed.notify_all()

    def _hear(self, body: bytes) -> None:
        with self._changed:
            self._tell(self._ear.feed(from_pcm(body)))
            self._changed.notify_all()
            while self._ear.backlog_s > MOST_BACKLOG_S and not self._gone:
                self._changed.wait(1.0)
        self._send(protocol.LEVEL, str(len(body) // 2).encode())

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self._send(protocol.EVENT, to_json(event).encode())

    def _send(self, kind: bytes, body: bytes = b"") -> None:
        with self._sending:
            self._sock.sendall(protocol.encode(kind, body))

    def _next_frame(self) -> tuple[bytes, bytes]:
        while not self._frames:
            data = self._sock.recv(1 << 16)
            if not data:
                raise EOFError
            self._frames = self._reader.feed(data)
        return self._frames.pop(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the connection that the owner has passed on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fd", type=int, required=True, help="the socket, open already")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return Child(socket.socket(fileno=options.fd)).run()
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"hearing: {Code.HOST_UNUSABLE.name}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
