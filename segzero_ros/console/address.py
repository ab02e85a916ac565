"""Where the console listens, and with which certificate it speaks https."""

import socket
import ssl
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from segzero_ros.bundle import expand_home
from segzero_ros.errors import Code, RejectedInput

DAYS = 825  # that browsers let a certificate live
MAKING_S = 30.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: the certificate with its chain, and its key."""

    chain: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers show it."""
        pem = self.chain.read_text(encoding="ascii")
        end = "-----END CERTIFICATE-----"
        digest = sha256(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERT") : pem.index(end) + len(end)]))
        return ":".join(f"{byte:02X}" for byte in digest.digest())


def listen(host: str, port: int) -> socket.socket:
    """Bind the address; ``RejectedInput`` CONFIG_VALUE where it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        detail = f"cannot listen on {host} port {port} ({error}); give another --port, 0 = any free one"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None


def address(listening: socket.socket, token: str, *, https: bool = False) -> str:
    """Return what to open in a browser."""
    host, port = listening.getsockname()[:2]
    asked = f"?token={token}" if token else ""
    return f"{'https' if https else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/{asked}"


def given_certificate(chain: str, key: str) -> Certificate:
    """Return a certificate and its key (empty: in the same file); ``RejectedInput`` CONFIG_VALUE if unusable."""
    found = Certificate(expand_home(chain), expand_home(key or chain))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(found.chain, found.key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        detail = f"cannot use --certificate {chain} with its key ({error}); want PEM files, the key without a password"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None
    return found


def own_certificate(folder: Path) -> Certificate:
    """Return this machine's self-signed certificate from ``folder``, made there by openssl the first time.

    ``RejectedInput`` CONFIG_VALUE where it cannot be made.
    """
    found = Certificate(folder / "certificate.pem", folder / "key.pem")
    if not (found.chain.exists() and found.key.exists()):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(found, socket.gethostname())
    return given_certificate(str(found.chain), str(found.key))


def _make(wanted: Certificate, name: str) -> None:
    names = f"subjectAltName=DNS:{name},DNS:{name}.local,DNS:localhost,IP:127.0.0.1"
    partial = Certificate(wanted.chain.with_suffix(".partial"), wanted.key.with_suffix(".partial"))
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", str(DAYS), "-subj", f"/CN={name[:64]}", "-addext", names]
    words += ["-keyout", str(partial.key), "-out", str(partial.chain)]
    try:
        partial.key.touch(mode=0o600)
        subprocess.run(words, check=True, capture_output=True, timeout=MAKING_S, stdin=subprocess.DEVNULL)
        partial.key.replace(wanted.key)
        partial.chain.replace(wanted.chain)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        why = said.decode("utf-8", "replace").strip().rpartition("\n")[2] or error
        detail = f"cannot make a certificate in {wanted.chain.parent} ({why}); install openssl, or give --certificate"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None
