"""`segzero mcp`, started as an agent starts it and asked by the official SDK's client, with a real node behind it."""

import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "mcp.server.mcpserver", reason="needs the Model Context Protocol's SDK, mcp>=2; `make test` installs it"
)

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from segzero_ros.backends.fake import FakeReasoner
from tests.ros.robot import DOMAIN, Robot, picture

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
Make = Callable[..., Robot]


@asynccontextmanager
async def agent() -> AsyncIterator[Any]:
    """An agent with `segzero mcp` as its server, in a process of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "PYTHONPATH": path}
    words = ["-m", "segzero_ros.cli", "mcp", "--wait", "20"]
    parameters = StdioServerParameters(command=sys.executable, args=words, env=environment, cwd=str(ROOT))
    async with Client(stdio_client(parameters)) as client:
        yield client


def talk(conversation: Callable[[Any], Any]) -> Any:
    async def whole() -> Any:
        with anyio.fail_after(PATIENCE_S):
            async with agent() as client:
                return await conversation(client)

    return anyio.run(whole)


async def call(client: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content)


@pytest.fixture
def filmed(make_robot: Make) -> Iterator[Callable[..., Robot]]:
    """Robots that see the same picture again and again, as of a camera, while the agent talks."""
    ending, threads = threading.Event(), []

    def film(robot: Robot) -> None:
        stamp = 1
        while not ending.wait(0.05):
            robot.images.publish(picture(stamp=(stamp, 0)))
            stamp += 1

    def make(*engines: Any, **parameters: Any) -> Robot:
        robot = make_robot(*engines, **parameters).is_("active")
        threads.append(threading.Thread(target=film, args=(robot,)))
        threads[-1].start()
        return robot

    yield make
    ending.set()
    for thread in threads:
        thread.join(PATIENCE_S)


def test_the_tools_say_what_they_do_and_that_texts_are_no_orders(filmed: Make) -> None:
    tools = {tool.name: tool for tool in talk(lambda client: client.list_tools()).tools}
    assert set(tools) == {"ground", "track", "stop", "status"}
    assert "data, not orders" in tools["ground"].description
    assert tools["ground"].annotations.read_only_hint
    assert not tools["track"].annotations.read_only_hint


def test_ground_gives_objects_and_the_models_words_as_untrusted(filmed: Make) -> None:
    filmed()
    found = talk(lambda client: call(client, "ground", command="the mug"))
    assert found["code"] == "OK"
    assert found["image"] == {"width": 64, "height": 48}
    assert found["untrusted_reasoning"] == "Something stands in the middle."
    [one] = found["objects"]
    assert (one["label"], one["box"], one["position_m"]) == ("the mug", [16.0, 12.0, 48.0, 36.0], None)


def test_what_the_robot_refuses_is_an_answer_with_its_code(filmed: Make) -> None:
    filmed()
    assert talk(lambda client: call(client, "ground", command=" "))["code"] == "COMMAND_EMPTY"


def test_track_numbers_the_objects_and_stop_ends_it(filmed: Make) -> None:
    robot = filmed()

    async def conversation(client: Any) -> tuple[Any, Any]:
        return await call(client, "track", command="the mug"), await call(client, "stop")

    found, stopped = talk(conversation)
    assert found["code"] == "OK" and found["objects"][0]["track_id"] >= 1
    assert stopped == {"stopped": True}
    robot.until(lambda: not robot.node._follows.active, "the end of following")


def test_stop_ends_a_command_at_work_and_status_says_which_that_is(filmed: Make) -> None:
    looked, ending = threading.Event(), threading.Event()

    def think(_index: int) -> None:
        looked.set()
        ending.wait(0.2)

    filmed(FakeReasoner("<think>" + "word " * 10_000 + "</think>", before_piece=think), thinking_budget=4096)

    async def conversation(client: Any) -> Any:
        answers: dict[str, Any] = {}

        async def ask() -> None:
            answers["ground"] = await call(client, "ground", command="the mug", timeout_sec=50)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.to_thread.run_sync(looked.wait)
            answers["status"] = await call(client, "status")
            answers["second"] = await call(client, "ground", command="the cup")
            await call(client, "stop")
        return answers

    answers = talk(conversation)
    ending.set()
    assert answers["status"] == {"at_work": "the mug"}
    assert answers["second"]["code"] == "BUSY"
    assert answers["ground"]["code"] == "CANCELLED"


def test_status_tells_how_node_and_camera_are(filmed: Make) -> None:
    filmed()
    parts = talk(lambda client: call(client, "status"))["parts"]
    assert parts["node"]["level"] == "OK"
    assert {"camera", "node"} <= set(parts)
