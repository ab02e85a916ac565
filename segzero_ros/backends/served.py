"""A bundle's reasoner for other machines' robots: questions come rendered, and the masks are made by those who ask."""

import dataclasses
import logging

from segzero_ros.backends import EngineOptions, choose_reasoner
from segzero_ros.backends.self_test import FilledBoxes, check_served
from segzero_ros.bundle import Bundle
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import Profile

_log = logging.getLogger(__name__)


class RenderedProfile(Profile):
    """A profile whose messages come rendered: a client's own profile has put its prompt around the question."""

    __slots__ = ()

    def render(self, command_text: str) -> str:
        """Return the message as it came."""
        return command_text


def as_rendered(bundle: Bundle) -> Bundle:
    """Return the bundle with a profile that takes whole messages; everything else of it stays."""
    values = {field.name: getattr(bundle.profile, field.name) for field in dataclasses.fields(bundle.profile)}
    return dataclasses.replace(bundle, profile=RenderedProfile(**values))


def open_served(bundle: Bundle, backend: str, options: EngineOptions, *, self_test: bool) -> Pipeline:
    """Open the reasoner alone; ``Pipeline.engines`` is its backend. Raises ``RejectedInput``."""
    rendered = as_rendered(bundle)
    reasoner, name, _ = choose_reasoner(backend, rendered, options)
    if self_test:
        _log.info("%s", check_served(reasoner, bundle))
    return Pipeline(rendered.profile, reasoner, FilledBoxes(), engines=name)
