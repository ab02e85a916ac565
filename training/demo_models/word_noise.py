"""Words that mean nothing, mixed into a question: whoever speaks to a robot uses words that no template has."""

import numpy as np

_ONSETS = ("", *"b br c ch d dr f g gl h j k l m n p qu r s sh sl st t th tr v w wh y z".split())  # noqa: SIM905
_VOWELS = ("a", "e", "i", "o", "u", "ea", "oo", "ou", "ai", "ee", "y")
_CODAS = ("", "", *"b ck d g l ll m n nd ng nt p r rd s ss st t x".split())  # noqa: SIM905
MOST_WORDS = 4


def add_word_noise(text: str, rng: np.random.Generator) -> str:
    """`text` with one to four made-up words between its words, before or after them; the same for the same `rng`."""
    words = text.split()
    for _ in range(1 + min(int(rng.poisson(0.8)), MOST_WORDS - 1)):
        words.insert(int(rng.integers(len(words) + 1)), made_up(rng))
    return " ".join(words)


def made_up(rng: np.random.Generator) -> str:
    """A pronounceable word of one to three syllables."""
    syllables = rng.choice((1, 2, 3), p=(0.45, 0.4, 0.15))
    return "".join(str(rng.choice(part)) for _ in range(syllables) for part in (_ONSETS, _VOWELS, _CODAS))
