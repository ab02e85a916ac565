"""Whisper by faster-whisper (CTranslate2), and Silero VAD by the ONNX file that faster-whisper carries.

Nothing is downloaded: a model that is not there is refused, with the command that fetches it.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from segzero_ros.bundle import expand_home
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import RATE_HZ, Samples
from segzero_ros.hearing.recogniser import Transcript
from segzero_ros.hearing.settings import HearingSettings
from segzero_ros.hearing.words import prompt_of, read_phrases

FRAMES_PER_S = 100  # of Whisper's spectrogram
WHOLE_FRAMES = 3000  # what Whisper was trained on; shorter sentences are padded
QUICK_FRAMES = 1000  # a third of the work, and some more words wrong
PADDING = 16  # the encoder takes even numbers; its layers like multiples of this
TOKENS_PER_S = 8  # people speak about four
BEAM = 5
WORKERS = 2  # a quick look beside a full transcript; they share the weights
_CONTEXT = 64  # samples before a window that Silero VAD sees with it
_MODULES = ("faster_whisper", "ctranslate2", "onnxruntime")


def open_recogniser(settings: HearingSettings) -> "WhisperRecogniser":
    """Open the model; ``RejectedInput`` CONFIG_VALUE where there is none, BUNDLE_BACKEND without the engine."""
    _require_engine()
    import ctranslate2
    import faster_whisper

    name = settings.model
    if not name:
        raise RejectedInput(Code.CONFIG_VALUE, f"got no model; give a folder or a downloaded name: {_how_to_get()}")
    is_folder = "/" in name or Path(name).is_dir()
    if is_folder and not (expand_home(name) / "model.bin").is_file():
        raise RejectedInput(Code.CONFIG_VALUE, f"got the model {name[:200]!r}, which has no model.bin; {_how_to_get()}")
    device = settings.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    try:
        model = faster_whisper.WhisperModel(
            str(expand_home(name)) if is_folder else name,
            device=device,
            compute_type="int8" if device == "cpu" else "float16",
            cpu_threads=settings.threads,
            num_workers=WORKERS,
            local_files_only=True,
        )
        return WhisperRecogniser(model, settings)
    except (OSError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        detail = f"could not open the model {name[:200]!r} ({why}); {_how_to_get()}"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None


def _how_to_get() -> str:
    return "fetch one: python -m segzero_ros.hearing.whisper base.en, with the Python of the recogniser"


def _require_engine() -> None:
    import importlib.util

    gone = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if gone:
        detail = f"this Python has no {', '.join(gone)}; see docs/speech.md for what to install"
        raise RejectedInput(Code.BUNDLE_BACKEND, detail)


class WhisperRecogniser:
    """Transcripts of a Whisper model; what it should expect is said to it as the text before."""

    def __init__(self, model: Any, settings: HearingSettings) -> None:
        """``model``: a ``faster_whisper.WhisperModel``."""
        from faster_whisper.tokenizer import Tokenizer

        self._model = model
        many = model.model.is_multilingual
        self._tokenizer = Tokenizer(model.hf_tokenizer, many, task="transcribe", language=settings.language)
        prompt = prompt_of(expected(settings))
        before = self._tokenizer.encode(f" {prompt}") if prompt else []
        self._prompt = model.get_prompt(self._tokenizer, before, without_timestamps=True)

    def transcribe(self, samples: Samples, *, quick: bool) -> Transcript:
        """Return what was said; ``quick`` pads to 10 s in place of 30."""
        import ctranslate2

        began = time.monotonic()
        seconds = len(samples) / RATE_HZ
        frames = WHOLE_FRAMES
        if quick:
            frames = min(WHOLE_FRAMES, max(QUICK_FRAMES, -(-int(seconds * FRAMES_PER_S) // PADDING) * PADDING))
        features = _padded(self._model.feature_extractor(samples), frames)
        encoded = self._model.model.encode(ctranslate2.StorageView.from_array(features[None]))
        (found,) = self._model.model.generate(
            encoded,
            [self._prompt],
            beam_size=BEAM,
            max_length=len(self._prompt) + 8 + int(TOKENS_PER_S * seconds),
            sampling_temperature=0,
            return_scores=True,
            return_no_speech_prob=True,
        )
        text = self._tokenizer.decode(found.sequences_ids[0]).strip()
        return Transcript(text, float(found.scores[0]), float(found.no_speech_prob), time.monotonic() - began)


def expected(settings: HearingSettings) -> tuple[str, ...]:
    """Return the phrases to expect: the scene's, and the stop words, last, where a long prompt is not cut."""
    stops = read_phrases(settings.stop_words, "stop_words")
    around = (f"{stops[0]} it", f"please {stops[0]}") if stops else ()
    return (*read_phrases(settings.words, "words"), *stops, *around)


def _padded(features: np.ndarray[Any, Any], frames: int) -> np.ndarray[Any, Any]:
    """Return the spectrogram (mels, F) cut or padded with silence to ``frames``, contiguous."""
    kept = features[:, :frames].astype(np.float32)
    return np.ascontiguousarray(np.pad(kept, ((0, 0), (0, frames - kept.shape[1]))))


class SileroVoice:
    """Silero VAD's probability of speech, window for window; it remembers what came before."""

    def __init__(self) -> None:
        """Raises ``RejectedInput`` BUNDLE_BACKEND without faster-whisper."""
        _require_engine()
        from faster_whisper.vad import get_vad_model

        self._session = get_vad_model().session
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def probability(self, window: Samples) -> float:
        """Return how probable speech is in the next window."""
        seen = np.concatenate([self._context, window]).astype(np.float32)[None]
        said, self._h, self._c = self._session.run(None, {"input": seen, "h": self._h, "c": self._c})
        self._context = window[-_CONTEXT:]
        return float(said.ravel()[0])


def download(name: str) -> str:
    """Fetch the model ``name`` from the Hugging Face hub, where this machine may; return its folder."""
    import faster_whisper

    return str(faster_whisper.download_model(name))


if __name__ == "__main__":
    import sys

    print(download(sys.argv[1]))
