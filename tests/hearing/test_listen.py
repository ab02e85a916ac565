"""`segzero listen`: a spoken file gives commands, whose meaning `segzero ground` finds; broken files give one line."""

import wave

import numpy as np
import pytest

from segzero_ros.cli.main import main
from segzero_ros.demo.voice import WORDS, spoken
from segzero_ros.hearing.audio import RATE_HZ, to_pcm16


def write_wav(path, samples, rate=RATE_HZ):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(to_pcm16(samples))
    return path


@pytest.fixture(scope="module")
def said(voice, tmp_path_factory):
    return write_wav(tmp_path_factory.mktemp("wav") / "said.wav", np.concatenate(list(spoken(["the white mug"]))))


def listen(model, path, *more):
    return main(["listen", "--wav", str(path), "--model", str(model), "--words", WORDS, *more])


def test_what_is_spoken_in_a_file_is_found_in_a_picture(said, model, capsys):
    assert listen(model, said, "--commands") == 0
    command = capsys.readouterr().out.strip()
    assert command == "the white mug"
    assert main(["ground", "table", command, "--json"]) == 0


def test_silence_is_no_command_and_status_one(model, tmp_path, capsys):
    path = write_wav(tmp_path / "silence.wav", np.zeros(3 * RATE_HZ, np.float32))
    assert listen(model, path, "--commands") == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"no sound", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + bytes(16)]
)
def test_a_file_that_is_no_wav_ends_in_one_line(content, model, tmp_path, capsys):
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    assert listen(model, path) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("segzero listen: CONFIG_VALUE") and "convert it to 16-bit PCM" in last


def test_what_was_said_in_a_file_before_it_breaks_off_is_not_lost(said, model, tmp_path, capsys):
    whole = said.read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(whole[: len(whole) - RATE_HZ])  # half a second of the silence at its end
    assert listen(model, path, "--commands") == 2
    captured = capsys.readouterr()
    assert captured.out == "the white mug\n"
    assert "it was cut off: copy it again" in captured.err


def test_a_model_that_is_not_there_is_refused_with_how_to_get_one(said, python, tmp_path, capsys):
    assert main(["listen", "--wav", str(said), "--model", str(tmp_path)]) == 2
    assert "has no model.bin; fetch one:" in capsys.readouterr().err
