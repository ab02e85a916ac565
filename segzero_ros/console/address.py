"""Where the console listens."""

import socket

from segzero_ros.errors import Code, RejectedInput


def listen(host: str, port: int) -> socket.socket:
    """Bind the address; ``RejectedInput`` CONFIG_VALUE where it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        detail = f"cannot listen on {host} port {port} ({error}); give another --port, 0 = any free one"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None


def address(listening: socket.socket, token: str) -> str:
    """Return what to open in a browser."""
    host, port = listening.getsockname()[:2]
    asked = f"?token={token}" if token else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{asked}"
