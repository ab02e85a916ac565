"""The model families the exporter knows: one file each behind `base.ExportFamily`. See docs/families.md."""

from __future__ import annotations

from typing import Any

from export.families.base import ExportFamily
from export.families.qwen2_5_vl import Qwen25VL
from export.families.qwen3_vl import Qwen3VL

FAMILIES: tuple[ExportFamily, ...] = (Qwen25VL(), Qwen3VL())


def family_of(architectures: Any) -> ExportFamily:
    """Return the family of a config.json's `architectures` or raise ValueError with those there are."""
    for family in FAMILIES:
        if architectures == [family.facts.model_class]:
            return family
    known = " or ".join(family.facts.model_class for family in FAMILIES)
    raise ValueError(f"got {architectures}, want a {known} checkpoint")
