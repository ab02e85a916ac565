"""The console with https: a certificate of the machine's own or one that is given, and what is refused."""

import shutil
import ssl
import stat
import urllib.request
from pathlib import Path

import pytest

from segzero_ros.cli.main import main
from segzero_ros.console import address as addresses
from segzero_ros.console.address import Certificate, given_certificate, own_certificate
from segzero_ros.errors import Code, RejectedInput
from tests.console.conftest import PATIENCE_S, Served


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return own_certificate(tmp_path_factory.mktemp("state") / "console")


def test_a_certificate_of_ones_own_is_made_once_and_its_key_is_nobody_elses(certificate: Certificate) -> None:
    made = certificate.key.read_bytes()
    assert own_certificate(certificate.chain.parent) == certificate
    assert certificate.key.read_bytes() == made
    assert stat.S_IMODE(certificate.key.stat().st_mode) == 0o600
    assert sorted(path.name for path in certificate.chain.parent.iterdir()) == ["certificate.pem", "key.pem"]


def test_pages_and_their_sockets_are_served_by_https(certificate: Certificate) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.chain))
    running = Served(certificate=certificate)
    try:
        assert running.url.startswith("https://127.0.0.1:")
        with urllib.request.urlopen(running.url, timeout=PATIENCE_S, context=trusting) as answer:  # noqa: S310
            assert b"segzero" in answer.read()
        with running.page(ssl=trusting) as page:
            assert page.hear("hello")["answers"] == []
        shown = ssl.get_server_certificate(("127.0.0.1", int(running.url.rpartition(":")[2])))
        assert Certificate(_written(certificate, shown), certificate.key).fingerprint == certificate.fingerprint
    finally:
        running.close()


def _written(certificate: Certificate, pem: str) -> Path:
    path = certificate.chain.parent.parent / "shown.pem"
    path.write_text(pem, encoding="ascii")
    return path


def test_a_key_in_the_same_file_is_taken(certificate: Certificate, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.chain.read_bytes() + certificate.key.read_bytes())
    assert given_certificate(str(both), "").fingerprint == certificate.fingerprint


def test_what_is_no_certificate_is_refused_with_what_is_wanted(certificate: Certificate, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for chain, key in ((str(empty), ""), (str(certificate.chain), str(empty)), (str(tmp_path / "none.pem"), "")):
        with pytest.raises(RejectedInput, match="want PEM files, the key without a password") as refused:
            given_certificate(chain, key)
        assert refused.value.code is Code.CONFIG_VALUE


def test_without_openssl_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(*_args: object, **_options: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "openssl")

    monkeypatch.setattr(addresses.subprocess, "run", absent)
    with pytest.raises(RejectedInput, match="install openssl, or give --certificate"):
        own_certificate(tmp_path / "console")


def test_a_key_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["console", "--key", "key.pem"]) == 2
    assert "got --key without --certificate" in capsys.readouterr().err
