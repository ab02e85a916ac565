"""Words: as they are compared, those that stop, the one that wakes, and those that the recogniser is to expect."""

import re
from collections.abc import Sequence

from segzero_ros.errors import Code, RejectedInput

MOST_PHRASES = 200
MOST_PROMPT_CHARS = 800  # Whisper's own limit is 224 tokens
# What people put around a "stop" that changes nothing about it.
_FILLERS = frozenset(
    (
        "please",
        "now",
        "it",
        "that",
        "this",
        "at",
        "once",
        "right",
        "robot",
        "hey",
        "ok",
        "okay",
        "no",
        "oh",
        "everything",
    )
)
_NOT_OF_WORDS = re.compile(r"[^\w' ]+")


def plain_words(text: str) -> list[str]:
    """Return the words of ``text`` as they are compared: small, without punctuation."""
    return [word.strip("'") for word in _NOT_OF_WORDS.sub(" ", text.lower()).split() if word.strip("'_")]


def read_phrases(text: str, name: str) -> tuple[str, ...]:
    """Return the phrases of a list with commas; ``RejectedInput`` CONFIG_VALUE for one without words, or too many."""
    phrases = tuple(phrase.strip() for phrase in text.split(",") if phrase.strip())
    wordless = [phrase for phrase in phrases if not plain_words(phrase)]
    if wordless or len(phrases) > MOST_PHRASES:
        what = repr(wordless[0][:40]) if wordless else f"{len(phrases)} phrases"
        detail = f"got {name} with {what}, want at most {MOST_PHRASES} phrases of words, with commas"
        raise RejectedInput(Code.CONFIG_VALUE, detail)
    return phrases


class StopWords:
    """Tells whether a text says to stop, and nothing else: "stop", "please stop it", "no no cancel"."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = sorted((plain_words(phrase) for phrase in phrases), key=len, reverse=True)

    def said_in(self, text: str) -> str:
        """Return the phrase that ``text`` stops with, "" if it says anything else, or nothing."""
        words, found = plain_words(text), ""
        while words:
            phrase = next((phrase for phrase in self._phrases if words[: len(phrase)] == phrase), None)
            if phrase is None and words[0] not in _FILLERS:
                return ""
            found = found or " ".join(phrase or ())
            words = words[len(phrase or " ") :]
        return found


class WakePhrase:
    """The words that a sentence has to begin with to be a command; "" takes every sentence."""

    def __init__(self, phrase: str) -> None:
        self._words = plain_words(phrase)

    def __bool__(self) -> bool:
        return bool(self._words)

    def after(self, text: str) -> str | None:
        """Return what follows the phrase, None where ``text`` does not begin with it; one letter in five may differ."""
        parts = text.split()
        letters = "".join(self._words)
        for count in range(1, min(len(parts), len(self._words) + 1) + 1):
            heard = "".join(plain_words(" ".join(parts[:count])))
            if distance(heard, letters) * 5 <= len(letters):
                return " ".join(parts[count:])
        return None


def prompt_of(phrases: Sequence[str]) -> str:
    """Return what is said to the recogniser to have been said before, so that it expects these words.

    Raises ``RejectedInput`` CONFIG_VALUE where they are more than it takes.
    """
    prompt = ". ".join(phrase[:1].upper() + phrase[1:] for phrase in phrases)
    if len(prompt) > MOST_PROMPT_CHARS:
        detail = f"got {len(prompt)} characters of words to expect, want at most {MOST_PROMPT_CHARS}; leave some out"
        raise RejectedInput(Code.CONFIG_VALUE, detail)
    return f"{prompt}." if prompt else ""


def as_command(text: str) -> str:
    """Return a transcript as people type a command: no capital at its start, no commas and full stops."""
    words = [word.strip('.,;:!"') for word in text.split()]
    plain = " ".join(word for word in words if word)
    keeps_capital = plain[:2] in ("I ", "I'") or plain[1:2].isupper()
    return plain if keeps_capital else plain[:1].lower() + plain[1:]


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many insertions, deletions and replacements make ``other`` of ``one``, at least (Levenshtein)."""
    row = list(range(len(other) + 1))
    for at, mine in enumerate(one, 1):
        diagonal, row[0] = row[0], at
        for column, theirs in enumerate(other, 1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (mine != theirs)),
            )
    return row[-1]
