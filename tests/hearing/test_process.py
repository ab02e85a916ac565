"""The recogniser's process: it may crash, hang and speak nonsense; the owner goes on, says so, and loses little."""

import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import to_pcm16
from segzero_ros.hearing.events import from_json
from segzero_ros.hearing.process import owner as process
from segzero_ros.hearing.process import protocol
from segzero_ros.hearing.process.child import Child
from segzero_ros.hearing.process.owner import Hearing, command_line
from segzero_ros.hearing.settings import HearingSettings
from tests.hearing.stand_in import Loudness, Pitch, silence, tone

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
PATIENCE_S = 30.0
SOON_S = 10.0  # for what waits for nothing
RED = np.concatenate([silence(0.2), tone("The red mug."), silence(1.0)])
BLUE = np.concatenate([silence(0.2), tone("The blue ball."), silence(1.0)])


class Owner:
    """A hearing with what it says."""

    def __init__(self, command=STAND_IN, **settings):
        self.events, self.states = [], []
        self.changed = threading.Condition()
        self.hearing = Hearing(HearingSettings(**settings), command, self.hear, self.note)
        self.hearing.start()

    def hear(self, event):
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def note(self, state):
        with self.changed:
            self.states.append(state)
            self.changed.notify_all()

    def until(self, done):
        with self.changed:
            assert self.changed.wait_for(done, PATIENCE_S), (self.events, self.states)

    @property
    def commands(self):
        return [event.text for event in self.events if event.is_command]


@pytest.fixture
def make_owner():
    owners = []

    def make(*args, **settings):
        owners.append(Owner(*args, **settings))
        return owners[-1]

    yield make
    for owner in owners:
        owner.hearing.close()
        assert owner.hearing.process_id == 0


@pytest.fixture(autouse=True)
def again_at_once(monkeypatch):
    monkeypatch.setattr(process, "AGAIN_S", (0.01, 0.1))


def test_what_was_fed_before_the_model_was_open_is_heard(make_owner):
    owner = make_owner()
    owner.hearing.feed(RED)
    owner.hearing.feed(BLUE)
    owner.hearing.finish()
    assert owner.commands == ["the red mug", "the blue ball"]
    assert owner.states == [""]


def test_a_recogniser_that_crashes_is_started_again_and_the_next_sentence_is_heard(make_owner):
    owner = make_owner()
    owner.hearing.wait_ready()
    owner.hearing.feed(np.concatenate([tone("die"), silence(1)]))
    owner.until(lambda: len(owner.states) >= 3)
    assert "was ended by SIGSEGV; what was being said is lost" in owner.states[1]
    owner.hearing.feed(RED)
    owner.until(lambda: owner.commands == ["the red mug"])
    assert owner.hearing.starts == 2


def test_a_recogniser_that_crashes_over_the_last_words_is_told_again_that_they_were_the_last(make_owner):
    owner = make_owner()
    owner.hearing.wait_ready()
    owner.hearing.feed(tone("die"))
    owner.hearing.finish(PATIENCE_S)
    assert owner.hearing.starts == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its traceback is the report
def test_a_voice_detector_that_fails_ends_the_process_and_not_only_its_thread():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = threading.Thread(target=Child(theirs, lambda _settings: (None, BrokenVoice())).run, daemon=True)
        child.start()
        ours.sendall(protocol.encode(protocol.SETTINGS, b"{}") + protocol.encode(protocol.AUDIO, bytes(4096)))
        child.join(PATIENCE_S)
        assert not child.is_alive()
        end_of("segzero-audio")


def end_of(name):
    """Wait for the threads called so: what they raise belongs to this test."""
    for thread in [each for each in threading.enumerate() if each.name == name]:
        thread.join(PATIENCE_S)


class BrokenVoice:
    def probability(self, window):
        raise RuntimeError("a defect")


class Served:
    """A process' other end in a thread of this one, with a recogniser of the test's."""

    def __init__(self, recogniser):
        self.ours, theirs = socket.socketpair()
        self.status, self.frames = [], []
        self._child = Child(theirs, lambda _settings: (recogniser, Loudness()))
        self._thread = threading.Thread(target=lambda: self.status.append(self._child.run()), daemon=True)
        self._thread.start()
        self.ours.sendall(protocol.encode(protocol.SETTINGS, b"{}"))

    def say(self, samples):
        self.ours.sendall(protocol.encode(protocol.AUDIO, to_pcm16(samples)))

    def until(self, kind):
        """Read on until an event of this kind; return it."""
        reader = protocol.Reader()
        self.ours.settimeout(SOON_S)
        while True:
            self.frames += reader.feed(self.ours.recv(1 << 16))
            events = [from_json(body) for name, body in self.frames if name == protocol.EVENT]
            if found := [event for event in events if event.kind == kind]:
                return found[-1]

    def ended(self):
        self._thread.join(PATIENCE_S)
        return self.status


class SlowPitch(Pitch):
    """Needs, for a full transcript, until it is let go."""

    def __init__(self):
        super().__init__()
        self.at_work, self.let_go = threading.Event(), threading.Event()

    def transcribe(self, samples, *, quick):
        if not quick:
            self.at_work.set()
            assert self.let_go.wait(PATIENCE_S)
        return super().transcribe(samples, quick=quick)


def test_a_stop_does_not_wait_for_the_transcript_of_the_sentence_before():
    pitch = SlowPitch()
    served = Served(pitch)
    served.say(RED)
    assert pitch.at_work.wait(PATIENCE_S)
    served.say(np.concatenate([tone("Stop!", 0.4), silence(0.5)]))
    assert served.until("stop").text == "stop"
    assert not [event for event in served.frames if b"final" in event[1]]
    pitch.let_go.set()
    assert served.until("final").text == "the red mug"
    served.ours.close()
    assert served.ended() == [0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its traceback is the report
def test_a_recogniser_that_fails_at_a_look_ends_the_process():
    served = Served(None)  # which nobody can ask anything
    served.say(np.concatenate([silence(0.2), tone("Stop!"), silence(0.3)]))
    assert served.ended() == [1]
    end_of("segzero-looks")


def test_a_recogniser_that_hangs_is_ended_and_started_again(make_owner, monkeypatch):
    monkeypatch.setattr(process, "HANG_S", 2.0)  # a busy machine takes half a second for nothing
    owner = make_owner()
    owner.hearing.wait_ready()
    owner.hearing.feed(np.concatenate([tone("hang", 3.0), silence(1)]))
    keep_talking(owner, lambda: any("was silent for" in state for state in owner.states))
    keep_talking(owner, lambda: "the red mug" in owner.commands)


def keep_talking(owner, done):
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, (owner.events, owner.states)
        owner.hearing.feed(RED)
        with owner.changed:
            owner.changed.wait(0.2)


def test_settings_that_the_recogniser_refuses_are_not_tried_again(make_owner):
    owner = make_owner(command_line(Path(sys.executable)), model="/nowhere/at/all")
    with pytest.raises(RejectedInput) as refused:
        owner.hearing.wait_ready()
    assert refused.value.code in (Code.CONFIG_VALUE, Code.BUNDLE_BACKEND)  # no model; or no faster-whisper here
    assert owner.hearing.starts == 1


def test_a_python_that_is_not_there_is_named(make_owner):
    owner = make_owner(("/nowhere/python",))
    with pytest.raises(RejectedInput, match=r"HOST_UNUSABLE: the Python /nowhere/python does not start"):
        owner.hearing.wait_ready()


def test_a_process_that_speaks_nonsense_is_started_again(make_owner):
    nonsense = "import socket, sys; socket.socket(fileno=int(sys.argv[2])).sendall(b'hello, world')"
    owner = make_owner((sys.executable, "-c", nonsense))
    owner.until(lambda: len(owner.states) >= 2)
    assert "does not speak as it should" in owner.states[0]


def test_audio_that_nobody_takes_is_dropped_beyond_its_bound_and_counted(make_owner, monkeypatch):
    monkeypatch.setattr(process, "QUEUE_S", 2.0)
    owner = make_owner((sys.executable, "-c", "import time; time.sleep(60)"))
    owner.hearing.feed(silence(10.0))
    assert owner.hearing.dropped_s == pytest.approx(7.5, abs=0.6)


def test_the_process_ends_with_its_owner():
    ours, theirs = socket.socketpair()
    import subprocess

    child = subprocess.Popen([*STAND_IN, "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    ours.close()
    assert child.wait(PATIENCE_S) == 0
