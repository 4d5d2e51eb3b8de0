"""What must hold of any text, however it came about: located problems, or a network that computes what it declares."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from math import prod
from random import Random
from typing import Any

import torch
from mutations.mutants import Mutant
from torch import Tensor

from metablock.api import assemble, example
from metablock.backend.codegen import Sources
from metablock.errors import MetablockError, Problem, SpecError
from metablock.front import front
from metablock.language.check import check_names
from metablock.language.edits import resolve
from metablock.language.format import show_spec
from metablock.language.load import load_text
from metablock.language.spec import Spec
from metablock.lowering.ir import Subgraph, flat_values, module_nodes, subgraphs
from metablock.weights.export_names import export_state
from metablock.weights.loading import load_weights

# Words of other libraries and of Python, which no message may hold.
FOREIGN = re.compile(r"Traceback|Error\b|torch\.|pydantic|yaml\.|NoneType|object at 0x|<class|lark|unexpected keyword argument")
EXTREME = re.compile(r"3000000000|9{20}|1e309")  # a network with such a number may overflow
ELEMENTS, MODULES = 5_000_000, 200  # a network above is not run: of a value, for one image; of operators


class FaultError(AssertionError):
    """A promise that does not hold for a text."""


def assert_located(problems: list[Problem], places: bool = True) -> None:
    """Every problem has a place, a message of its own and a hint."""
    if not problems:
        raise FaultError("an error without a problem")
    for problem in problems:
        text = problem.render()
        if places and problem.span is None:
            raise FaultError(f"no place: {text}")
        if not problem.hint:
            raise FaultError(f"no hint: {text}")
        if FOREIGN.search(problem.message) or FOREIGN.search(problem.hint):
            raise FaultError(f"foreign words: {text}")
        if problem.span is not None and not 0 <= problem.span.start <= len(problem.span.text.content):
            raise FaultError(f"a place outside of the text: {text}")


def tried(do: Callable[[], Any], places: bool = True) -> Any:
    """The result, or None for an error as it should be. Raises FaultError for any other."""
    try:
        return do()
    except SpecError as wrong:
        assert_located(list(wrong.problems), places)
    except MetablockError as wrong:
        if "\n" not in str(wrong) or FOREIGN.search(str(wrong)):
            raise FaultError(f"no hint, or foreign words: {wrong}") from wrong
    except FaultError:
        raise
    except BaseException as wrong:
        raise FaultError(f"{type(wrong).__name__}: {wrong}") from wrong
    return None


def read(text: str) -> Spec | None:
    """The spec of a text without problems of form or of names, printed and read again without a change."""
    spec = tried(lambda: load_text(text, "mutant.yaml"))
    if spec is None:
        return None
    problems = tried(lambda: check_names(spec))
    if problems:
        assert_located(problems)
        return None
    if load_text(show_spec(spec)) != spec:
        raise FaultError("the canonical text is of another spec")
    return spec


def judge(mutant: Mutant, random: Random, run: bool = True) -> str:
    """Reads, lowers, builds and runs one. Returns how far it came: ``refused``, ``misshapen``, ``large``, ``built``, ``run``.

    Args:
        random: chooses the variant, and training or evaluation.
        run: whether a network that can be built is run.

    Raises:
        FaultError: a promise does not hold.
    """
    spec = read(mutant.text)
    if spec is None:
        return "refused"
    variant = random.choice(list(spec.variants) or [None])
    network = tried(lambda: front(spec, variant=variant))
    if network is None:
        return "misshapen"
    if not run:
        return "built"
    return compute(network.spec, network.ir, train=random.random() < 0.3, finite=not EXTREME.search(mutant.done))


def compute(spec: Spec, ir: Subgraph, train: bool = False, finite: bool = True) -> str:
    """Builds a network and runs it on two images.

    Raises FaultError where what comes out has other shapes than the IR declares, or (with ``finite``) is not finite.
    """
    values = [value for _, part in subgraphs(ir) for step in part.all_steps for value in flat_values(step.output)]
    if max((prod(value.feature.size()) for value in values), default=0) > ELEMENTS or sum(1 for _ in module_nodes(ir)) > MODULES:
        return "large"
    meta = tried(lambda: assemble(spec, ir, device="meta"), places=False)
    if meta is None:
        return "misshapen"
    if sum(parameter.numel() for parameter in meta.parameters()) > ELEMENTS:
        return "large"
    model = tried(lambda: assemble(spec, ir).train(train))
    if model is None:
        return "misshapen"
    with torch.no_grad():
        output = tried(lambda: model(*example(model, batch=2)), places=False)
    if output is None:
        return "misshapen"
    declared = ir.output if train or ir.prediction is None else ir.prediction
    sizes = [value.feature.size(2) for value in flat_values(declared)]
    tensors = list(_flat(output))
    if [tuple(tensor.shape) for tensor in tensors] != sizes:
        raise FaultError(f"the outputs have the shapes {[tuple(tensor.shape) for tensor in tensors]}, not {sizes}")
    if finite and not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise FaultError("the output is not finite")
    for table in spec.weights:
        state = tried(lambda table=table: export_state(model, spec, table), places=False)
        if state is not None:
            tried(lambda state=state, table=table: load_weights(model, state, spec, table), places=False)
    return "run"


def _flat(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _flat(value)
    elif output is not None:
        for value in output:
            yield from _flat(value)


def meaning(spec: Spec) -> str:
    """What the networks of a file compute, with the names of their parameters and the rates that change from block to block."""
    parts = []
    for variant in list(spec.variants) or [None]:
        ir = front(resolve(spec, variant)).ir
        rates = [(".".join(path), node.args) for path, node in module_nodes(ir) if node.operator == "drop_path"]
        parts.append([variant, Sources().describe(ir), [str(value.feature) for value in ir.inputs], rates])
    return json.dumps(parts, default=str)
