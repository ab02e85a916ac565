"""A bundle's segmenter alone: for people who point at what they mean, beside a node that has its engines to itself."""

from segzero_ros.backends import SEGMENTERS, EngineOptions, first_segmenter
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.pipeline import Pipeline
from segzero_ros.reasoner import Answer, Request


class NoReasoner:
    """``Reasoner`` where there is none: every question is refused (HOST_UNUSABLE)."""

    def reason(self, request: Request) -> Answer:
        """Refuse ``request``."""
        detail = f"this host has a segmenter only and cannot read {request.command.text[:60]!r}; ask the node's own"
        raise RejectedInput(Code.HOST_UNUSABLE, detail)


def open_masking(bundle: Bundle, backend: str, options: EngineOptions) -> Pipeline:
    """Open the segmenter that a node with this ``backend`` has, and no reasoner. Raises ``RejectedInput``."""
    names = (backend,) if backend in SEGMENTERS else SEGMENTERS
    segmenter, name, refusals = first_segmenter(names, bundle, options)
    engines = "; ".join([f"segmenter {name}", *refusals])
    return Pipeline(bundle.profile, NoReasoner(), segmenter, engines=engines)
