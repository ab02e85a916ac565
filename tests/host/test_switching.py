"""Other engines are opened beside those in use, and taken only when they have passed."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.messages import Open
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import start_own
from segzero_ros.host.switching import SwitchingPipeline
from tests.host.conftest import LIMIT_S, TROUBLE, ask, until


def start(bundle: str) -> Callable[..., HostPipeline]:
    wanted = Open(bundle, "auto", {}, True)
    return lambda on_change: HostPipeline(functools.partial(start_own, TROUBLE), wanted, on_change=on_change)


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def switching(told: list[Any]) -> Iterator[SwitchingPipeline]:
    made = SwitchingPipeline(
        start("first"),
        on_change=lambda state: told.append((state.phase, state.opened.bundle)),
        on_refused=lambda fault: told.append(fault.code),
    )
    until(lambda: made.state().phase == "ready", "the first engines")
    yield made
    made.close()


def in_use(switching: SwitchingPipeline) -> str:
    return switching.state().opened.bundle


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_others_are_taken_once_they_are_open_and_the_former_ones_end(switching, told):
    pid = switching.state().pid
    switching.switch(start("slow:1"))
    assert ask(switching, "the mug").code == Code.OK
    assert (in_use(switching), switching.next_state().phase) == ("first", "loading")
    until(lambda: in_use(switching) == "slow:1", "the switch")
    assert ask(switching, "the mug").code == Code.OK
    assert switching.next_state() is None
    until(lambda: gone(pid), "the former process to end")
    assert told == [("ready", "first"), ("ready", "slow:1")]


@pytest.mark.parametrize(("bundle", "code"), [("refuse", Code.BUNDLE_ALTERED), ("crash", Code.HOST_UNUSABLE)])
def test_others_that_do_not_open_are_not_taken(switching, told, bundle, code):
    pid = switching.state().pid
    switching.switch(start(bundle))
    until(lambda: told[-1] == code, "the refusal")
    assert switching.next_state() is None
    assert (ask(switching, "the mug").code, in_use(switching), switching.state().pid) == (Code.OK, "first", pid)


def test_a_command_at_work_ends_on_the_engines_it_began_on(switching):
    pid, results = switching.state().pid, []
    thread = threading.Thread(target=lambda: results.append(ask(switching, "slow mug")))
    thread.start()
    time.sleep(0.05)
    switching.switch(start("second"))
    thread.join(LIMIT_S)
    assert results[0].code == Code.OK
    until(lambda: in_use(switching) == "second", "the switch")
    until(lambda: gone(pid), "the former process to end")


def test_the_later_of_two_changes_counts(switching):
    switching.switch(start("slow:1"))
    switching.switch(start("third"))
    until(lambda: in_use(switching) == "third", "the switch")
    time.sleep(1.2)
    assert in_use(switching) == "third"


def test_what_is_wrong_without_opening_is_raised_and_changes_nothing(switching):
    def refuse(_: object) -> HostPipeline:
        raise RejectedInput(Code.BUNDLE_MISSING, "there is none")

    with pytest.raises(RejectedInput):
        switching.switch(refuse)
    assert (ask(switching, "the mug").code, in_use(switching)) == (Code.OK, "first")


def test_closing_while_others_open_leaves_no_process(switching):
    pid = switching.state().pid
    switching.switch(start("slow:5"))
    until(lambda: switching.next_state().pid, "the second process")
    pids = [pid, switching.next_state().pid]
    switching.close()
    until(lambda: all(map(gone, pids)), "both to be gone")
