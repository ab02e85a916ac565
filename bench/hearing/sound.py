"""Sounds that are no commands, made here: noise, silence, music. float32 in [-1, 1] at RATE_HZ, seeded."""

import numpy as np

from segzero_ros.hearing.audio import RATE_HZ, Samples

NOTES_HZ = 220.0 * 2.0 ** (np.array([0, 3, 7, 10, 12, 15, 12, 7]) / 12)  # a minor chord, up and down
BEAT_S = 0.25


def pink_noise(seconds: float, seed: int) -> Samples:
    """Return noise with the same power in every octave, RMS 1."""
    count = int(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, count)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def with_noise(samples: Samples, decibels: float, seed: int) -> Samples:
    """Return samples with pink noise whose power is ``decibels`` below that of the speech where it is loud."""
    loud = samples[np.abs(samples) > 0.02]
    level = np.sqrt(np.mean(loud**2)) * 10 ** (-decibels / 20)
    return np.clip(samples + level * pink_noise(len(samples) / RATE_HZ, seed)[: len(samples)], -1, 1)


def music(seconds: float, seed: int) -> Samples:
    """Return a tune: plucked notes over a bass, with a hiss on every beat."""
    rng = np.random.default_rng(seed)
    beat = int(BEAT_S * RATE_HZ)
    at = np.arange(beat) / RATE_HZ
    bars = []
    for number in range(int(seconds / BEAT_S)):
        note = NOTES_HZ[number % len(NOTES_HZ)] * (1.0 if number // 16 % 2 else 2 ** (5 / 12))
        tone = sum(np.sin(2 * np.pi * note * k * at) / k for k in range(1, 7))
        bass = np.sin(2 * np.pi * note / 4 * at)
        hiss = rng.standard_normal(beat) * np.exp(-at / 0.03)
        bars.append(0.2 * tone * np.exp(-at / 0.15) + 0.2 * bass + 0.1 * hiss)
    return np.clip(np.concatenate(bars), -1, 1).astype(np.float32)
