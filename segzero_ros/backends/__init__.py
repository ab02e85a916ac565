"""The engines of a bundle: which backend opens them, whether it can run here, and why this one.

Every backend is a module of ``backends/`` with ``why_unavailable(bundle, options)`` ("" when it can run here),
``open_reasoner(bundle, options)`` and, where it has one, ``open_segmenter(bundle, options)``. Nothing is imported
before it is wanted: a robot has one of these engines and not the others.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from segzero_ros.bundle import Bundle
from segzero_ros.config import BACKENDS
from segzero_ros.errors import Code, RejectedInput, nearest
from segzero_ros.pipeline import DEFAULT_BUDGET, Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Reasoner
from segzero_ros.segmenter import Segmenter, Tracker

SEGMENTERS = ("tensorrt", "onnx")  # the others bring a reasoner only; best first


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How engines are opened; what a backend has no use for it ignores.

    ``threads``: CPU threads per engine, 0 = the engine's choice. ``constrained``: answers follow the profile's
    grammar and what it forces goes in one pass (jump-forward). ``draft_tokens``: tokens guessed ahead per pass from the
    prompt, 0 = none. ``provider``: of ONNX Runtime. ``engine_dir``: where built engines lie, "" = the user's cache.
    ``model``: a checkpoint directory (tensorrt_llm, torch_cuda) or the name a server knows its model by (remote).
    ``server``: http://HOST:PORT/v1. ``server_timeout_s``: no byte for so long = stalled. ``fallback``: answer with the
    bundle's own reasoner when the server does not. ``encode_ahead``: SAM 2, where it runs on the CPU, encodes while the
    reasoner generates.
    """

    threads: int = 0
    constrained: bool = True
    draft_tokens: int = 0
    provider: str = "auto"
    engine_dir: str = ""
    model: str = ""
    server: str = ""
    server_timeout_s: float = 10.0
    fallback: bool = True
    encode_ahead: bool = True


DEFAULTS = EngineOptions()


def open_pipeline(
    bundle: Bundle | None,
    backend: str = "auto",
    *,
    budget: int = DEFAULT_BUDGET,
    label: str = "",
    options: EngineOptions = DEFAULTS,
) -> Pipeline:
    """Open a bundle's engines and join them to a pipeline, or say exactly why not (``RejectedInput`` BUNDLE_BACKEND).

    ``backend``: one of BACKENDS; "auto" takes the fastest that works, and ``Pipeline.engines`` says which and why.
    "fake" needs no bundle. ``budget``, ``label``: see ``Pipeline``.
    """
    if backend not in (*BACKENDS, "auto"):
        raise _no_backend(f"got the backend {backend[:100]!r}{nearest(backend, (*BACKENDS, 'auto'))}")
    if backend == "fake":
        return _open_fake(bundle, budget, label)
    if bundle is None:
        raise _no_backend(f"got no bundle for the backend {backend!r}; name one, or use the backend fake")
    reasoner, name, refusals = choose_reasoner(backend, bundle, options)
    names = (backend,) if backend in SEGMENTERS else SEGMENTERS
    segmenter, other, also_refused = first_segmenter(names, bundle, options)
    engines = "; ".join([f"reasoner {name}", *refusals, f"segmenter {other}", *also_refused])
    new_tracker = cast(Any, _module("tracker")).make_tracker
    engines += f"; following {new_tracker(segmenter).kind}"
    from segzero_ros.backends.world import make_caution

    caution = make_caution(bundle.name, bundle.provenance)
    return Pipeline(
        bundle.profile,
        reasoner,
        segmenter,
        budget=budget,
        label=label,
        engines=engines,
        caution=caution,
        make_tracker=lambda: cast(Tracker, new_tracker(segmenter)),
    )


def choose_reasoner(backend: str, bundle: Bundle, options: EngineOptions) -> tuple[Reasoner, str, list[str]]:
    """Open the reasoner of ``backend``, "auto" = the fastest; return it, its backend and why those before it do not."""
    names = candidates(options) if backend == "auto" else (backend,)
    return _first_that_opens(names, bundle, options, open_reasoner)


def first_segmenter(names: Sequence[str], bundle: Bundle, options: EngineOptions) -> tuple[Segmenter, str, list[str]]:
    """Open the first segmenter of these backends that works; return as ``choose_reasoner`` does."""
    return _first_that_opens(names, bundle, options, open_segmenter)


def candidates(options: EngineOptions) -> tuple[str, ...]:
    """Return what "auto" tries for the reasoner, fastest first; a server or a checkpoint only where one is named."""
    named = {"remote": bool(options.server), "tensorrt_llm": bool(options.model), "torch_cuda": bool(options.model)}
    if options.server:
        named |= {"tensorrt_llm": False, "torch_cuda": False}  # then `model` is the server's
    order = ("remote", "tensorrt_llm", "tensorrt", "torch_cuda", "onnx")
    return tuple(name for name in order if named.get(name, True))


def why_unavailable(name: str, bundle: Bundle | None, options: EngineOptions = DEFAULTS) -> str:
    """Return in one line why the backend ``name`` cannot run here, "" when it can; opens no engine."""
    if name == "fake":
        return ""
    try:
        return str(cast(Any, _module(name)).why_unavailable(bundle, options))
    except ImportError as error:
        return f"cannot be imported ({error})"


def open_reasoner(name: str, bundle: Bundle, options: EngineOptions) -> Reasoner:
    """Open a backend's reasoner; whatever goes wrong is ``RejectedInput``."""
    module = cast(Any, _module(name))
    if name == "remote" and options.fallback:
        spare = [local for local in SEGMENTERS if not why_unavailable(local, bundle, options)]
        local = (lambda: open_reasoner(spare[0], bundle, options)) if spare else None
        return cast(Reasoner, module.open_reasoner(bundle, options, local=local))
    return cast(Reasoner, module.open_reasoner(bundle, options))


def open_segmenter(name: str, bundle: Bundle, options: EngineOptions) -> Segmenter:
    """Open a backend's segmenter; whatever goes wrong is ``RejectedInput``."""
    return cast(Segmenter, cast(Any, _module(name)).open_segmenter(bundle, options))


def _first_that_opens(
    names: Sequence[str], bundle: Bundle, options: EngineOptions, opening: Any
) -> tuple[Any, str, list[str]]:
    """Return the first engine that opens, its backend's name, and why each one before it did not."""
    refusals: list[str] = []
    for name in names:
        reason = why_unavailable(name, bundle, options)
        if not reason:
            try:
                return opening(name, bundle, options), name, refusals
            except RejectedInput as error:
                if len(names) == 1:
                    raise
                reason = error.detail
            except Exception as error:
                if len(names) == 1:
                    raise _broken(name, bundle, error) from error
                reason = _broken(name, bundle, error).detail
        refusals.append(f"not {name}: {reason}")
    raise _no_backend("; ".join(refusals))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"segzero_ros.backends.{name}")


def _broken(name: str, bundle: Bundle, error: Exception) -> RejectedInput:
    return _no_backend(
        f"the {name} engines of {bundle.path} do not open ({type(error).__name__}: {error}); "
        "export the bundle again with the pinned versions"
    )


def _open_fake(bundle: Bundle | None, budget: int, label: str) -> Pipeline:
    from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter, centre_answer
    from segzero_ros.tracking.prompted import PromptedTracker

    profile = bundle.profile if bundle else get_profile(PROFILE)
    reasoner, segmenter = FakeReasoner(centre_answer(profile)), FakeSegmenter(ellipse=True)
    return Pipeline(
        profile,
        reasoner,
        segmenter,
        budget=budget,
        label=label,
        engines="fake, as asked",
        make_tracker=lambda: PromptedTracker(segmenter),
    )


def _no_backend(detail: str) -> RejectedInput:
    return RejectedInput(Code.BUNDLE_BACKEND, detail)
