"""What a host has: the engines, their queue, and what each client may ask of them. No sockets here.

Engines are opened in a thread of their own, so that clients are answered meanwhile. Every ``Ground`` ends with one
``Result``, whatever the engines do, unless the process itself ends.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from segzero_ros.answer import Target
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.backends.masking import open_masking
from segzero_ros.backends.self_test import check_coordinates
from segzero_ros.backends.served import open_served
from segzero_ros.bundle import MANIFEST, open_bundle, resolve_bundle
from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host import messages
from segzero_ros.host.asks import TEXT_NS, make_ticket
from segzero_ros.host.fair_queue import FairQueue, NotTaken, Ticket
from segzero_ros.host.messages import (
    Answered,
    Ask,
    Ground,
    Loading,
    Look,
    Looked,
    Message,
    Opened,
    Picture,
    Prompt,
    ProtocolError,
    Refused,
    Result,
    Track,
)
from segzero_ros.host.pixels import MappedRing
from segzero_ros.host.protocol import LENGTH_BYTES, decode, encode
from segzero_ros.host.tracking import GuestTracker, refused
from segzero_ros.pipeline import Pipeline, Segmentation, error_text, unanswered
from segzero_ros.reasoner import Reasoner
from segzero_ros.segmenter import Tracker

MOST_WAITING = 16  # commands of all clients together
HUNG_NS = 2_500_000_000  # past its deadline or cancel; the node's worker gives up after 3 s, an answer may take 2
LOOK_S = 30.0  # for a prefill, waiting included: a large model on a small GPU takes seconds
_PICTURES = 8  # of one client, in shared memory that it has replaced since, that are known by number
_log = logging.getLogger(__name__)


class Voice(Protocol):
    """Says something to a client, from any thread, without waiting."""

    def say(self, *said: Message) -> None:
        """Send messages."""
        ...


OpenPipeline = Callable[[messages.Open], tuple[str, str, Pipeline]]


def open_engines(wanted: messages.Open) -> tuple[str, str, Pipeline]:
    """Open a bundle's engines; return its name, its manifest's SHA-256 and the pipeline. Raises ``RejectedInput``."""
    try:
        options = EngineOptions(**wanted.options)
    except TypeError as error:
        raise RejectedInput(Code.HOST_UNUSABLE, f"got engine options this host does not know ({error})") from None
    if wanted.backend == "fake":
        return "fake", "", open_pipeline(None, "fake", options=options)
    bundle = open_bundle(resolve_bundle(wanted.bundle))
    digest = hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()
    if wanted.reasoner_only:
        return bundle.name, digest, open_served(bundle, wanted.backend, options, self_test=wanted.self_test)
    if wanted.segmenter_only:
        return bundle.name, digest, open_masking(bundle, wanted.backend, options)
    pipeline = open_pipeline(bundle, wanted.backend, options=options)
    if wanted.self_test:
        _log.info("%s", check_coordinates(pipeline, bundle))
    return bundle.name, digest, pipeline


class Room:
    """The engines of one bundle and the queue before them."""

    def __init__(self, open_engines: OpenPipeline = open_engines) -> None:
        self._open_engines = open_engines
        self._lock = threading.Lock()
        self._wanted: messages.Open | None = None
        self._opened: Opened | None = None
        self._fault: RejectedInput | None = None
        self._pipeline: Pipeline | None = None
        self._since_s = time.monotonic()
        self._listeners: list[Callable[[], None]] = []
        self.queue = FairQueue(most_waiting=MOST_WAITING)

    def open(self, wanted: messages.Open) -> None:
        """Begin to open the engines; a second time it has to be the same ones: ``RejectedInput`` HOST_UNUSABLE."""
        with self._lock:
            known, self._wanted = self._wanted, self._wanted or wanted
        if known is None:
            self._since_s = time.monotonic()
            self.queue.most_waiting = wanted.most_waiting
            threading.Thread(target=self._load, args=(wanted,), name="segzero-loader", daemon=True).start()
        elif known != wanted:
            raise RejectedInput(Code.HOST_UNUSABLE, "this host has other engines open; end it, or use another socket")

    def _load(self, wanted: messages.Open) -> None:
        try:
            name, digest, pipeline = self._open_engines(wanted)
            seconds = time.monotonic() - self._since_s
            opened = Opened(name, digest, pipeline.profile.name, pipeline.engines, 1e3 * seconds)
            with self._lock:
                self._pipeline, self._opened = pipeline, opened
        except RejectedInput as error:
            self._fault = error
        except BaseException as error:  # noqa: BLE001 - whatever an engine raises; the node is told
            _log.exception("the engines do not open")
            self._fault = RejectedInput(
                Code.BUNDLE_BACKEND, f"the engines do not open, {error_text(error)}; see the log"
            )
        with self._lock:
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def when_open(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once ``state`` is final, at once if it is; perhaps in another thread."""
        with self._lock:
            waits = self._opened is None and self._fault is None
            if waits:
                self._listeners.append(listener)
        if not waits:
            listener()

    def state(self) -> Opened | messages.Fault | Loading:
        """Return what a new client is told."""
        if self._fault is not None:
            return messages.Fault(int(self._fault.code), self._fault.detail)
        wanted = self._wanted.bundle if self._wanted is not None else ""
        return self._opened or Loading(f"{wanted}, {time.monotonic() - self._since_s:.0f} s so far")

    @property
    def pipeline(self) -> Pipeline:
        """The open engines; ``RejectedInput`` LOADING before there are any, HOST_UNUSABLE without a segmenter."""
        if self._wanted is not None and self._wanted.reasoner_only:
            raise RejectedInput(Code.HOST_UNUSABLE, "this host has a reasoner only; start one for nodes: segzero host")
        return self._open_pipeline()

    def reasoner(self) -> Reasoner:
        """Return the open reasoner; ``RejectedInput`` LOADING before there is one."""
        return self._open_pipeline().reasoner

    def _open_pipeline(self) -> Pipeline:
        if self._pipeline is None:
            raise RejectedInput(Code.LOADING, "the engines are not open yet; ask again later")
        return self._pipeline

    def new_tracker(self) -> Tracker:
        """See ``Pipeline.new_tracker``."""
        return self.pipeline.new_tracker()

    @property
    def degraded(self) -> str:
        """See ``Pipeline.degraded_reason``."""
        return self._pipeline.degraded_reason if self._pipeline is not None else ""

    def hung(self, now_ns: int) -> Ticket | None:
        """Return the ticket at work whose engine does not come back."""
        running = self.queue.running
        return running if running is not None and running.overdue_ns(now_ns) > HUNG_NS else None


class Guest:
    """One client in the room: its memory, its pictures and its commands."""

    def __init__(self, room: Room, peer: str, voice: Voice) -> None:
        """``peer``: what tells connections apart."""
        self._room, self._peer, self._voice = room, peer, voice
        self._ring: MappedRing | None = None
        self._pictures: dict[int, tuple[Picture, MappedRing, Frame]] = {}
        self._tickets: dict[int, Ticket] = {}
        self._tracker = GuestTracker(room.new_tracker)

    def map(self, message: messages.Map, fd: int) -> None:
        """Take shared memory in place of what there was; pictures placed before stay."""
        self._ring = MappedRing(message, fd)

    def place(self, picture: Picture) -> None:
        """Take a picture by its number; the one in its slot is forgotten, and in time those of older memory."""
        if self._ring is None:
            raise ProtocolError("got a picture before any shared memory")
        place = picture.ring, picture.slot
        self._pictures = {n: one for n, one in self._pictures.items() if (one[0].ring, one[0].slot) != place}
        self._pictures[picture.number] = picture, self._ring, self._ring.frame(picture)
        for number in sorted(n for n, one in self._pictures.items() if one[1] is not self._ring)[:-_PICTURES]:
            del self._pictures[number]

    def ground(self, ask: Ground) -> None:
        """Let a command wait for its turn; its ``Result`` comes in any case."""
        _, _, frame = self._picture(ask.picture)
        command = Command(ask.command_id, ask.text)
        deadline_ns = _deadline_ns(ask.timeout_ms)
        progress = _Progress(ask.id, self._voice)

        def work(stopped: Callable[[], bool]) -> Segmentation:
            pipeline = self._room.pipeline.for_client(budget=ask.budget, label=ask.label)
            return pipeline.ground(
                frame,
                command,
                deadline_ns=deadline_ns,
                cancelled=stopped,
                on_text=progress.add,
                on_stage=progress.enter,
            )

        self._answer(ask, command, work, deadline_ns, progress.end)

    def prompt(self, ask: Prompt) -> None:
        """Let what a person points at wait for its turn; its ``Result`` comes in any case."""
        _, _, frame = self._picture(ask.picture)
        command = Command(ask.command_id, ask.text)
        targets = tuple(_target(row) for row in ask.targets)
        deadline_ns = _deadline_ns(ask.timeout_ms)
        work = lambda _: self._room.pipeline.mask(frame, command, targets, deadline_ns=deadline_ns)  # noqa: E731
        self._answer(ask, command, work, deadline_ns, self._voice.say)

    def _answer(
        self,
        ask: Ground | Prompt,
        command: Command,
        work: Callable[[Callable[[], bool]], Segmentation],
        deadline_ns: int | None,
        say: Callable[[Result], None],
    ) -> None:
        """Let ``work`` wait for its turn; whatever comes of it is said, by ``say``, as a ``Result``."""
        picture, ring, frame = self._picture(ask.picture)
        arrived_ns = time.monotonic_ns()

        def end(result: object) -> None:
            self._tickets.pop(ask.id, None)
            ended = _as_segmentation(result, command, frame)
            waited_ns = (ticket.started_ns or time.monotonic_ns()) - arrived_ns
            labels = ring.write_labels(picture, ended.labels)
            say(_sayable(_as_result(ask.id, ended, labels, waited_ns / 1e6, self._room.degraded)))

        ticket = self._tickets[ask.id] = Ticket("", work, end, self._peer, deadline_ns)
        self._submit(ticket)

    def ask(self, ask: Ask) -> None:
        """Let a question for the reasoner's text wait; its ``Answered`` or ``Refused`` comes in any case."""
        _, _, frame = self._picture(ask.picture)

        def say(*said: Message) -> None:
            if isinstance(said[-1], (Answered, Refused)):
                self._tickets.pop(ask.id, None)
            self._voice.say(*said)

        peer = f"{self._peer}, {ask.peer}"
        ticket = self._tickets[ask.id] = make_ticket(ask, frame, peer, self._room.reasoner, say)
        self._submit(ticket)

    def look(self, ask: Look) -> None:
        """Let a picture's prefill wait for its turn; its ``Looked`` comes in any case."""
        _, _, frame = self._picture(ask.picture)

        def end(result: object) -> None:
            self._voice.say(Looked(ask.id, "" if result is None else error_text(_as_error(result))))

        until_ns = time.monotonic_ns() + int(LOOK_S * 1e9)
        self._submit(Ticket("", lambda _: self._room.pipeline.prefill_image(frame), end, self._peer, until_ns))

    def track(self, ask: Track) -> None:
        """Let a step of what this client follows wait for its turn; its ``Tracked`` comes in any case."""
        picture, ring, frame = self._picture(ask.picture)
        starts = ring.read_labels(picture, ask.labels) if ask.labels and ask.starts else None

        def end(result: object) -> None:
            if isinstance(result, tuple):
                tracked, labels = result
                self._voice.say(replace(tracked, labels=ring.write_labels(picture, labels)))
                return
            error = _as_error(result)
            code = Code.BUSY if isinstance(error, NotTaken) else getattr(error, "code", Code.INTERNAL)
            detail = error.detail if isinstance(error, RejectedInput) else error_text(error)
            self._voice.say(refused(ask, code, detail))

        until_ns = time.monotonic_ns() + int(LOOK_S * 1e9)
        self._submit(Ticket("", lambda _: self._tracker.run(ask, frame, starts), end, self._peer, until_ns))

    def cancel(self, id: int) -> None:
        """End a command of this client soon."""
        ticket = self._tickets.get(id)
        if ticket is not None and self._room.queue.withdraw(ticket):
            ticket.on_end(RejectedInput(Code.CANCELLED, "cancelled before it had its turn; send it again if wanted"))

    def leave(self) -> None:
        """End all that this client has here."""
        for ticket in list(self._tickets.values()):
            self._room.queue.withdraw(ticket)

    def _submit(self, ticket: Ticket) -> None:
        try:
            self._room.queue.submit(ticket)
        except NotTaken as error:
            ticket.on_end(error)

    def _picture(self, number: int) -> tuple[Picture, MappedRing, Frame]:
        if number not in self._pictures:
            raise ProtocolError(f"got picture {number}, which is not here")
        return self._pictures[number]


class _Progress:
    """Tells a client how far its command is: stages at once, text in pieces of TEXT_NS."""

    def __init__(self, id: int, voice: Voice) -> None:
        self._id, self._voice = id, voice
        self._pieces: list[str] = []
        self._said_ns = time.monotonic_ns()

    def add(self, piece: str) -> None:
        """Go on with ``piece``."""
        self._pieces.append(piece)
        if time.monotonic_ns() - self._said_ns > TEXT_NS:
            self.flush()

    def enter(self, stage: Stage) -> None:
        """Tell all that came before, and ``stage``; together, as each sending wakes the node beside the engines."""
        self._voice.say(*self._gathered(), messages.Stage(self._id, stage.value))

    def flush(self) -> None:
        """Tell what has gathered."""
        if gathered := self._gathered():
            self._voice.say(*gathered)

    def end(self, result: Result) -> None:
        """Tell what has gathered, and ``result``."""
        self._voice.say(*self._gathered(), result)

    def _gathered(self) -> list[messages.Text]:
        """Return what has gathered, which is then told, as a message or none."""
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return []
        self._said_ns = time.monotonic_ns()
        return [messages.Text(self._id, "".join(pieces), len(pieces))]


def _deadline_ns(timeout_ms: float | None) -> int | None:
    return None if timeout_ms is None else time.monotonic_ns() + int(timeout_ms * 1e6)


def _target(row: list[Any]) -> Target:
    x0, y0, x1, y1, *flat = row
    on, off = (tuple(zip(points[::2], points[1::2], strict=True)) for points in flat)
    return Target((x0, y0, x1, y1), on, off)


def _as_error(result: object) -> BaseException:
    return result if isinstance(result, BaseException) else TypeError(f"got {type(result).__name__}")


def _as_segmentation(result: object, command: Command, frame: Frame) -> Segmentation:
    if isinstance(result, Segmentation):
        return result
    error = _as_error(result)
    if isinstance(error, RejectedInput):
        return unanswered(command, error.code, error.detail, frame)
    if isinstance(error, NotTaken):
        return unanswered(command, Code.BUSY, error.detail, frame)
    return unanswered(command, Code.INTERNAL, f"got {error_text(error)}; please report this with the log", frame)


def _sayable(result: Result) -> Result:
    """Return ``result`` if the other end can read it, else one that says what is wrong with it."""
    try:
        decode(encode(result)[LENGTH_BYTES:])
    except (ProtocolError, ValueError) as error:
        detail = f"the engine's answer cannot be handed on: {error_text(error)}"
        return replace(result, code=int(Code.INTERNAL), detail=detail, reasoning="", text="", instances=[], labels=0)
    return result


def _as_result(id: int, ended: Segmentation, labels: int, queue_ms: float, degraded: str) -> Result:
    most, timing = messages.MAX_TEXT_CHARS, ended.timing
    return Result(
        id=id,
        code=int(ended.code),
        detail=ended.detail[:most],
        reasoning=ended.reasoning[:most],
        text=ended.text[:most],
        instances=[
            [one.label, float(one.score), *map(float, (*one.box, *one.point)), one.mask_index]
            for one in ended.instances
        ],
        labels=labels,
        queue_ms=queue_ms,
        first_token_ms=timing.first_token_ms,
        reasoning_ms=timing.reasoning_ms,
        segmentation_ms=timing.segmentation_ms,
        total_ms=timing.total_ms,
        tokens=timing.tokens,
        degraded=degraded,
    )
