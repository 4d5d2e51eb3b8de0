"""Every problem of a spec file, found without building it. Only figures of `facts` and custom operators need torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import MetablockError, Problem, SpecError
from ..front import Front
from ..front import check as check_spec
from ..language.load import IncompleteError, load_file, load_text
from ..language.method_checks import check_method
from ..language.spec import Spec
from ..language.yaml import Limits

if TYPE_CHECKING:
    from ..lowering.ir import Subgraph
    from .models import FileReport

STDIN = "-"
# The exact figures of `facts` that can be counted, and what messages call them.
_COUNTED = {"params": "parameters", "trainable": "trainable parameters", "macs": "multiply-accumulates"}


def check(source: str, *, shapes: bool = True, doubts: list[Problem] | None = None) -> tuple[Problem, ...]:
    """The problems of a spec file, in order of place.

    Args:
        source: a path, or ``-`` for standard input.
        shapes: whether the shapes of every variant are inferred too, and the figures of `facts` counted. Multiply-accumulates
            are counted by torch.
        doubts: gets what is allowed, but may not be meant; with ``shapes``.

    Returns:
        The problems, those of an unreadable file included; empty where there is none.

    >>> [problem.message for problem in check("nowhere.yaml")]
    ["there is no file 'nowhere.yaml'"]
    """
    try:
        spec = read_stdin() if source == STDIN else load_file(source)
    except IncompleteError as wrong:
        return SpecError([*wrong.problems, *problems_of(wrong.spec, shapes=shapes)]).problems
    except SpecError as wrong:
        return wrong.problems
    if spec.holes:
        return SpecError(check_method(spec)).problems
    networks: list[Front] = []
    problems = problems_of(spec, shapes=shapes, networks=networks) or tuple(wrong_facts(spec, networks))
    if doubts is not None:
        doubts += {key: doubt for network in networks for key, doubt in network.ir.doubts.items()}.values()
    return problems


def problems_of(spec: Spec, *, shapes: bool = True, networks: list[Front] | None = None) -> tuple[Problem, ...]:
    """The problems of a file's spec: names; the shapes and the size of every variant's network; then rules without a use.

    The list ``networks`` gets what every variant was lowered to.

    >>> from metablock.language.load import load_text
    >>> spec = load_text("name: n\\ninput: image(3, 8)\\nmodel: conv(400000) >> conv(400000)\\n")
    >>> [problem.message for problem in problems_of(spec)]
    ['the network has 160,002,000,000 parameters; at most 20,000,000,000']
    """
    if not shapes:
        return tuple(check_spec(spec, shapes=False))
    from ..backend.limits import ModuleTensors, check_size
    from ..language.init_rules import InitRuleUse
    from ..language.weight_rules import NetworkFacts, blocks_in
    from ..language.weight_rules.use import WeightRuleUse
    from ..lowering.ir import module_nodes, subgraphs

    known, weights, init = ModuleTensors(), WeightRuleUse(spec), InitRuleUse()

    def look(network: Spec, ir: Subgraph) -> None:
        check_size(ir, known)
        if networks is not None:
            networks.append(Front(network, ir))
        names = list[str]()
        blocks = blocks_in(".".join(path) for path, _ in subgraphs(ir))
        for path, node in module_nodes(ir):
            place, tensors = ".".join(path), known.of(node, node.span)
            own = dict.fromkeys([*tensors.parameters, *tensors.others])
            if "weight" in own:
                own["bias"] = None  # re-parameterisation gives a convolution one
            names += [f"{place}.{name}" for name in own]
            init.see(network.init, place, node.operator, tensors.parameters)
        weights.see(NetworkFacts(tuple(blocks), tuple(names), network))

    problems = tuple(check_spec(spec, look=look))
    return problems if problems or spec.unread else SpecError([*weights.problems(), *init.problems()]).problems


def wrong_facts(spec: Spec, networks: Iterable[Front]) -> list[Problem]:
    """A problem for each figure of a file's `facts` that its network does not have: parameters, trainable ones, MACs.

    ``networks``: what its variants were lowered to.

    >>> from metablock.language.load import load_text
    >>> from metablock.front import front
    >>> net = load_text("name: n\\ninput: image(3, 8)\\nmodel: pw(4)\\nfacts: [[variant, params], [n, 12]]\\n")
    >>> [(problem.message, problem.hint) for problem in wrong_facts(net, [front(net)])]
    [("'n' has 16 parameters, `facts` says 12", 'write 16, or `-` where it is not known')]
    """
    problems = []
    for network in networks:
        name = network.spec.variant or network.spec.name
        facts = {key: int(cell) for key, cell in spec.facts.of(name).items() if key in _COUNTED}
        if not facts:
            continue
        try:
            counts = _counts(network, macs="macs" in facts)
        except MetablockError:
            continue  # too large to be counted, or with an operator that cannot be
        for column, stated in facts.items():
            if counts[column] != stated:
                message = f"'{name}' has {counts[column]} {_COUNTED[column]}, `facts` says {stated}"
                hint = f"write {counts[column]}, or `-` where it is not known"
                problems.append(Problem(message, spec.facts.place(name, column), hint))
    return problems


def _counts(network: Front, *, macs: bool) -> dict[str, int]:
    """The figures of a network."""
    from . import figures

    trainable, frozen = figures.parameters(network)
    counts = {"params": trainable + frozen, "trainable": trainable}
    return counts | ({"macs": figures.macs(network).get("", 0)} if macs else {})


def file_report(source: str, problems: tuple[Problem, ...], doubts: Iterable[Problem] = ()) -> FileReport:
    """The problems of a file, and what may not be meant in it, as ``check --json`` prints them.

    >>> file_report("nowhere.yaml", check("nowhere.yaml")).problems[0].message
    "there is no file 'nowhere.yaml'"
    """
    from .models import FileReport, ProblemReport

    reports, warnings = (
        tuple(ProblemReport.model_validate(problem.as_dict()) for problem in listed) for listed in (problems, doubts)
    )
    return FileReport(file=shown(source), problems=reports, warnings=warnings)


def shown(source: str) -> str:
    """The name of a source in messages.

    >>> shown("-"), shown("net.yaml")
    ('<stdin>', 'net.yaml')
    """
    return "<stdin>" if source == STDIN else source


def read_stdin() -> Spec:
    """The spec on standard input. Raises SpecError."""
    return load_text(read_text(), shown(STDIN))


def read_text() -> str:
    """The text on standard input, cut behind the largest size of a spec. Raises SpecError where it is not UTF-8."""
    try:
        return sys.stdin.buffer.read(Limits().size + 1).decode()
    except UnicodeDecodeError:
        raise SpecError([Problem("the text on standard input is not UTF-8", hint="save it as UTF-8")]) from None


def named_source(source: str) -> str | Spec:
    """A source as :func:`metablock.front.front` takes it: ``-`` becomes the spec on standard input.

    Raises:
        SpecError: the text on standard input is no spec.

    >>> named_source("swin_tiny")
    'swin_tiny'
    """
    return read_stdin() if source == STDIN else source
