"""Remaking: the flow and the network of a run, made again from what its file says; and what no file
holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..network import Network
from .durable import IncompatibleFile
from .opening import settings_of

if TYPE_CHECKING:
    from ..flow import GradientFlow
    from .trajectory import Trajectory


def flow_of(run: Trajectory, backend: str = "auto", dtype: Any = None) -> GradientFlow:
    """See Trajectory.flow."""
    from .. import backends
    from ..flow import GradientFlow

    settings = run.config.get("flow")
    if not settings:
        raise ValueError(
            f"{run.path} does not say what it descends: pass flow=, the mf.GradientFlow of the run."
        )
    with settings_of(run.path):
        kind, place = settings["dtype"], str(settings["backend"])
    dtype = kind if dtype is None else backends.dtype_name(dtype)
    backend = backends.check(backends.here(place) if backend == "auto" else backend)

    try:
        with settings_of(run.path):
            arrays, start = run.arrays, run.start
            home = "torch" if "feature" in (run.config.get("network") or {}) else "cpu"
            made = GradientFlow.from_dict({**settings, "backend": home}, arrays, start)
    except IncompatibleFile:
        raise
    except ValueError as error:
        raise ValueError(
            f"{error} Pass flow= with the user-written function of this run, an "
            "mf.GradientFlow made as it was for the run, "
            "to mf.resume, mf.diagnose, ntk.budget or a figure that evaluates it; or use that "
            "flow in place of run.flow()."
        ) from error
    return replace(made, backend=backend, dtype=dtype)


def network_of(run: Trajectory) -> Network:
    """See Trajectory.network."""
    if not run.config.get("network"):
        raise ValueError(
            f"{run.path} has no network in its configuration (a flow on whole rows of theta)."
        )
    try:
        with settings_of(run.path):
            return Network.from_dict(run.config["network"])
    except IncompatibleFile:
        raise
    except ValueError as error:
        name = run.config["network"].get("activation")
        kind = "feature" if "feature" in run.config["network"] else "activation"
        given = "..." if kind == "activation" else "the feature"
        raise ValueError(
            f"the {kind} {name!r} of {run.path} was written by its user and is "
            f"not in the file ({error}) Hand it in: "
            f"mf.Network.from_dict(run.config['network'], activation={given})."
        ) from error


def needed(observers: Mapping[str, Any], flow: bool) -> str:
    """What mf.resume has to be given besides the path, ", flow=…, functions={'mine': …}"; "" for
    built-ins alone. observers: as in run.config; flow: whether a formula of it is its user's.
    """
    functions = ", ".join(f"{item['name']!r}: …" for item in observers["series"] if item["user"])
    others = ", ".join(f"{item['class']}(…)" for item in observers.get("others", ()))
    return (
        ", flow=…" * flow
        + f", functions={{{functions}}}" * bool(functions)
        + f", observers=[{others}]" * bool(others)
    )


def needed_by(run: Trajectory) -> str:
    """`needed` of a file's run, as far as it says: those of earlier layouts do not tell its flow."""
    written = run.identity.get("written", {})
    formulas = [
        what
        for what, kept in written.items()
        if "series" not in kept and not what.startswith("the diagnostic ")
    ]
    return needed(run.config["observers"], bool(formulas)) if "observers" in run.config else ""
