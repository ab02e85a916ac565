"""The command `segzero console`."""

import argparse
import os
from typing import TYPE_CHECKING

from segzero_ros.bundle import user_path
from segzero_ros.cli.parser import OK, Parser, at_least, missing, refuse
from segzero_ros.errors import Code, RejectedInput

if TYPE_CHECKING:
    from segzero_ros.console.address import Certificate

ABOUT = (
    "Serve a page beside the running node: the camera with masks, the thinking as it grows, commands typed or spoken, "
    "stop, the answers so far, health. For browsers on this machine, unless another address is given; that asks for a "
    "token. It ends with Ctrl-C."
)
EXAMPLES = ("segzero console", "segzero console --host 0.0.0.0 --https", "segzero console --ros-args -r __ns:=/arm")
NEEDED = ("starlette", "uvicorn", "websockets")
INSTALL = "python3 -m pip install starlette uvicorn websockets"
NO_ROS = "needs ROS 2: source your ROS's and this workspace's setup.bash"
HERE = ("127.0.0.1", "::1", "localhost")
LEAST_TOKEN = 12


def configure(parser: Parser) -> None:
    """Add the options; what follows --ros-args is ROS's."""
    parser.describe(ABOUT, EXAMPLES)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--port", type=at_least(0, 65535), default=8080, metavar="N", help="default 8080; 0 = any free one"
    )
    made = "that pages have to know; made and printed where it is needed and not given"
    parser.add_argument("--token", default="", metavar="TEXT", help=made)
    parser.add_argument("--https", action="store_true", help="with a certificate of this machine's own, made once")
    parser.add_argument("--certificate", default="", metavar="FILE", help="https with this one (PEM)")
    parser.add_argument("--key", default="", metavar="FILE", help="its key (PEM; default: in the same file)")
    kept = "where corrections are kept (~/.local/state/segzero_ros/corrections)"
    parser.add_argument("--corrections", default="", metavar="DIR", help=kept)
    ros = "arguments of ROS, say -r __ns:=/arm"
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], metavar="...", help=ros)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C; 2 where that cannot be, and why."""
    absent = missing(NEEDED)
    if absent:
        return refuse("segzero console", f"{' and '.join(absent)} not installed; {INSTALL}")
    if not options.host.strip():
        return refuse("segzero console", "got an empty --host, want the address to listen on, say 127.0.0.1")
    if options.token and (len(options.token) < LEAST_TOKEN or not options.token.isascii() or " " in options.token):
        wanted = f"at least {LEAST_TOKEN} plain characters without blanks"
        return refuse("segzero console", f"got a --token of {len(options.token)} characters, want {wanted}")
    from segzero_ros.console.address import address, listen

    certificate = _certificate(options)
    listening = listen(options.host, options.port)
    try:
        from segzero_ros.ros.console.client import ConsoleClient
        from segzero_ros.ros.console.corrections import CorrectionFile
        from segzero_ros.ros.executor.process import StartError

        client = ConsoleClient(["--ros-args", *options.ros_args])
    except ImportError as error:
        return refuse("segzero console", f"{NO_ROS} ({error})")
    except StartError as error:
        return refuse("segzero console", str(error))
    from segzero_ros.console.correct import Corrector
    from segzero_ros.console.hub import Hub

    hub, corrector, kept = Hub(), Corrector(client.parameters), CorrectionFile(options.corrections)
    try:
        client.start(hub)
        from segzero_ros.console.access import new_token  # loaded while the node is being found
        from segzero_ros.console.app import make_app
        from segzero_ros.console.server import serve

        token = options.token or ("" if options.host in HERE else new_token())
        print(f"console of {client.node_name}: {address(listening, token, https=certificate is not None)}", flush=True)
        serve(make_app(hub, client, corrector, kept, token), hub, listening, certificate)
    finally:
        kept.close()
        corrector.close()
        client.close()
    return OK


def _certificate(options: argparse.Namespace) -> "Certificate | None":
    """The certificate to serve with, None for plain http; the fingerprint of one's own is said."""
    from segzero_ros.console.address import given_certificate, own_certificate

    if options.key and not options.certificate:
        raise RejectedInput(Code.CONFIG_VALUE, "got --key without --certificate, want both")
    if options.certificate:
        return given_certificate(options.certificate, options.key)
    if not options.https:
        return None
    state = user_path(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    certificate = own_certificate(state / "segzero_ros" / "console")
    print(f"certificate of this machine's own, SHA-256 {certificate.fingerprint}", flush=True)
    return certificate
