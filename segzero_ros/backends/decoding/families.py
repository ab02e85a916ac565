"""Model families: in what the reasoners we can run differ outside their graphs.

A bundle's ``config.json`` names its family; what differs inside the graphs is in ``export/families/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from segzero_ros.backends.decoding.preprocess import CLIP_MEAN, CLIP_STD, Triple
from segzero_ros.errors import Code, RejectedInput

HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    ``name``: as in a bundle's ``config.json`` and manifest. ``model_class``: its class in transformers, as in a
    checkpoint's ``architectures``. ``patch``: side in pixels of the tower's patches, of which two by two are a token.
    ``mean``, ``std``: of its pictures, RGB in 0..1. ``interleaved``: M-RoPE deals the frequencies out to time, row and
    column in turn, not in three blocks.
    """

    name: str
    model_class: str
    patch: int
    mean: Triple
    std: Triple
    interleaved: bool


QWEN2_5_VL = Family("Qwen2.5-VL", "Qwen2_5_VLForConditionalGeneration", 14, CLIP_MEAN, CLIP_STD, interleaved=False)
QWEN3_VL = Family("Qwen3-VL", "Qwen3VLForConditionalGeneration", 16, HALF, HALF, interleaved=True)
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (QWEN2_5_VL, QWEN3_VL)})


def family_named(name: str) -> Family:
    """Return the family of that name or raise ``RejectedInput`` BUNDLE_FORMAT with the names there are."""
    if name not in FAMILIES:
        raise RejectedInput(
            Code.BUNDLE_FORMAT, f"got a reasoner of the architecture {name!r}, want one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]
