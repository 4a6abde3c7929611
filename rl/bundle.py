"""Exporting a policy as a bundle: policy.onnx and policy.json, to be run by `regrasp.rl.runner`."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir
from jax2onnx import to_onnx
from onnx import TensorProto, helper, numpy_helper

from regrasp.assets import ALOHA, WORKCELLS, load_workcell
from regrasp.envs import Task
from regrasp.errors import InputError
from regrasp.files import whole
from regrasp.rl.episodes import ACTION_MEANING
from regrasp.rl.policies import Held, Params, Policy
from regrasp.rl.runner import FORMAT, BundleError, Runner

BUNDLES = Path(__file__).parent / "bundles"
"""Policies that ship with the package, usable by name."""

OPSET = 21
"""Of the graph: onnxruntime 1.20 and newer run it."""

WEIGHTS = ("float32", "float16")
"""How weights are kept: whole, or halved."""
LARGE = 1024
"""Numbers in a weight that is halved; what is smaller, such as the normalisation, stays whole."""


def export(
    policy: Policy,
    params: Params,
    task: Task,
    name: str,
    folder: Path,
    provenance: dict[str, Any],
    half: bool = False,
) -> Path:
    """Write a bundle, whole or not at all.

    Args:
        policy: what is exported, with its parameters.
        params: its weights and normalisation.
        task: what it does.
        name: the task's name.
        folder: the bundle's own folder.
        provenance: where the weights come from, kept as it is.
        half: keep large weights as float16, in half the room; they are computed with as float32.

    Returns:
        The folder.
    """
    model = _graph(policy, params, task)
    graph = (_halved(model) if half else model).SerializeToString()
    meta = {
        "format": FORMAT,
        "task": name,
        "workcell": task.workcell().name,
        "observations": [
            {"name": term, "unit": task.terms[term][0], "shape": list(task.terms[term][1])}
            for term, _ in policy.terms
        ],
        "action": {
            "names": list(task.workcell().action_names),
            "meaning": ACTION_MEANING,
        },
        "normalisation": "inside the graph",
        "rate_hz": round(1 / task.control_dt_s, 3),
        "chunk": policy.chunk,
        "execute": policy.executor.execute,
        "ensemble": policy.ensemble,
        "noise_size": policy.noise_size,
        "noise": policy.noise,
        "basis": policy.basis.tolist(),
        "family": type(policy).__name__,
        "weights": WEIGHTS[half],
        "provenance": {"regrasp": version("regrasp"), **provenance},
        "sha256": {"policy.onnx": hashlib.sha256(graph).hexdigest()},
    }
    with whole(folder) as temporary:
        temporary.mkdir()
        (temporary / "policy.onnx").write_bytes(graph)
        (temporary / "policy.json").write_text(json.dumps(meta, indent=1) + "\n")
    return folder


def load_bundle(where: str | Path, threads: int = 0) -> Runner:
    """The bundle in a folder, in a run's folder, or of a shipped name.

    Raises:
        InputError: there is none, or it cannot be run.
    """
    shipped = sorted(p.parent.name for p in BUNDLES.glob("*/policy.json"))
    places = [Path(where), Path(where) / "bundle" / "improved", Path(where) / "bundle" / "clone"]
    if str(where) in shipped:
        places.append(BUNDLES / str(where))
    for place in places:
        if (place / "policy.json").exists():
            try:
                return Runner(place, threads)
            except BundleError as error:
                raise InputError(str(error)) from None
    names = f", or one of {', '.join(shipped)}" if shipped else ""
    raise InputError(f"no bundle at {where}: give the folder of a bundle or of a run{names}")


def workcell_of(runner: Runner, table: str | None = None) -> str:
    """The workcell that a bundle was made for, as `load_workcell` takes it.

    Args:
        runner: the bundle.
        table: name of the workcell, or its table's file, as the user gives it; None: the bundle's own.

    Raises:
        InputError: the bundle is of another workcell, or of one that has to be given as a file.
    """
    own = str(runner.meta.get("workcell", ALOHA))
    if table is None:
        if own not in WORKCELLS:
            raise InputError(
                f"this bundle commands the workcell {own!r}, whose table is not here: give it, "
                "--workcell FILE.json"
            )
        return own
    if load_workcell(table).name != own:
        raise InputError(
            f"this bundle commands the workcell {own!r}, not {table!r}: choose --workcell {own}, or a "
            f"bundle made in {table}"
        )
    return table


def _graph(policy: Policy, params: Params, task: Task) -> onnx.ModelProto:
    """The deterministic map from observation terms and noise to chunks, for any number of rows."""
    frozen = jax.tree.map(jnp.asarray, params)
    names = [name for name, _ in policy.terms]

    def act(*inputs: Any) -> Any:
        *seen, noise, pending, gain = inputs
        obs = policy.flat(dict(zip(names, seen, strict=True)))
        return policy.act(frozen, obs, noise, Held(pending, gain))

    shapes = [("rows", *task.terms[name][1]) for name in names] + [
        ("rows", policy.noise_size),
        ("rows", policy.chunk, policy.action_size),
        ("rows", policy.knots, policy.chunk),
    ]
    graph_names = [*(f"obs_{name}" for name in names), "noise", "pending", "gain"]
    draft: Any = to_onnx(act, inputs=shapes, input_names=graph_names, opset=OPSET, return_mode="ir")
    for node in draft.graph:
        for value in node.outputs:
            if value.type is None:
                # The exporter leaves out the type of the shapes that it computes.
                value.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    model = onnx_ir.to_proto(draft)
    onnx.checker.check_model(model, full_check=True)
    return model


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, its large weights in float16, each widened before it is used."""
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= LARGE:
            if np.abs(values).max() > np.finfo(np.float16).max:
                raise InputError(f"a weight of {np.abs(values).max():.3g} is too large for float16")
            narrow = f"{tensor.name}_float16"
            casts.append(helper.make_node("Cast", [narrow], [tensor.name], to=TensorProto.FLOAT))
            tensor = numpy_helper.from_array(values.astype(np.float16), narrow)
        kept.append(tensor)
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def largest_difference(
    policy: Policy, params: Params, runner: Runner, obs: dict[str, np.ndarray], key: jax.Array
) -> float:
    """Largest difference (rad or opening) between exported and original chunks, given the same noise."""
    rows = len(next(iter(obs.values())))
    noise = jax.random.normal(key, (rows, policy.noise_size))
    flat = policy.flat({name: jnp.asarray(values) for name, values in obs.items()})
    ours = jax.jit(policy.act)(params, flat, noise)
    theirs = runner.chunks(obs, np.asarray(noise))
    return float(np.abs(np.asarray(ours) - theirs).max())
