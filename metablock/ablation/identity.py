"""A run's identity: everything that decides its numbers, and a hash of it.

What changes the numbers is in the hash: the resolved spec, the code that the network comes to, the source of its operators and of
the training, the recipe, the content of the data, the seed, compilation. What only might change them (the device, the number of
threads, versions) is no part of it: each run records it (:func:`metablock.ablation.machine.conditions`), and reports compare it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any

from ..backend.codegen import Sources
from ..front import Front
from ..language.format import spec_hash
from ..lowering.ir import module_nodes
from .dataset import Data, extents
from .recipe import Recipe
from .source import digest_of, training_digest

_WORDS = {"compiled": "compilation", "teacher": "the teacher", "processes": "processes", "seed": "seed"}


@dataclass(frozen=True)
class Identity:
    """What decides the numbers of a run.

    Attributes:
        spec: hash of the resolved spec.
        code: digests by name: ``network`` (what the spec is compiled to), ``training``, and the source of each operator.
        recipe: every value of the recipe.
        data: ``name``, ``input`` and ``fingerprint``; the name is no part of the hash.
        seed: of weights, order, augmentation and dropout.
        compiled: whether the network is compiled.
        teacher: digest of the teacher (:func:`metablock.ablation.teacher.teacher_digest`); empty without one.
        processes: number of processes that share a batch.

    >>> a = Identity("spec", {"network": "1"}, {"lr": 0.1}, {"name": "digits", "fingerprint": "f"}, seed=0)
    >>> b = Identity("spec", {"network": "1"}, {"lr": 0.2}, {"name": "digits", "fingerprint": "f"}, seed=1)
    >>> a.id == b.id, list(a.differences(b))
    (False, ['lr 0.1 there, 0.2 here', 'seed 0 there, 1 here'])
    """

    spec: str
    code: Mapping[str, str]
    recipe: Mapping[str, Any]
    data: Mapping[str, str]
    seed: int
    compiled: bool = False
    teacher: str = ""
    processes: int = 1

    @property
    def id(self) -> str:
        """SHA-256 of all of it but the name of the data."""
        return id_of(asdict(self))

    def to_json(self) -> str:
        """As a journal and a checkpoint store it."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Identity:
        """Reads the text of :meth:`to_json`; what a later version adds is left out.

        Raises ValueError for any other text.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("no identity")
        known = {field.name for field in fields(Identity)}
        try:
            return Identity(**{key: value for key, value in values.items() if key in known})
        except TypeError:
            raise ValueError("no identity") from None

    def differences(self, here: Identity) -> Iterator[str]:
        """What differs from another identity, in words; this one is "there". Nothing if the two are equal."""
        for kind in self.kinds(here):
            yield from self._explained(kind, here)

    def kinds(self, here: Identity) -> list[str]:
        """The attributes that differ from another identity's."""
        names = [field.name for field in fields(Identity) if field.name != "data"]
        different = [name for name in names if getattr(self, name) != getattr(here, name)]
        return different if _nameless(self.data) == _nameless(here.data) else [*different, "data"]

    def _explained(self, kind: str, here: Identity) -> Iterator[str]:
        if kind == "spec":
            yield "another network"
        elif kind == "recipe":
            names = [key for key in {**self.recipe, **here.recipe} if self.recipe.get(key) != here.recipe.get(key)]
            for key in names:
                yield f"{key} {_shown(self.recipe.get(key))} there, {_shown(here.recipe.get(key))} here"
        elif kind == "data":
            names = [data.get("name", "?") for data in (self.data, here.data)]
            inputs = [data.get("input", "?") for data in (self.data, here.data)]
            if names[0] != names[1]:
                yield f"data '{names[0]}' there, '{names[1]}' here"
            elif inputs[0] != inputs[1]:
                yield f"inputs of {inputs[0]} there, {inputs[1]} here"
            else:
                yield f"the content of '{names[0]}' has changed"
        elif kind == "code":
            changed = [name for name in {**self.code, **here.code} if self.code.get(name) != here.code.get(name)]
            sources = [name for name in changed if name != "network"]
            if sources:
                yield f"the source of {', '.join(sources)} has changed"
            elif self.spec == here.spec:
                yield "the same spec makes another network"
        elif kind == "teacher":
            yield "another teacher"
        else:
            yield f"{_WORDS[kind]} {_shown(getattr(self, kind))} there, {_shown(getattr(here, kind))} here"


def id_of(values: Mapping[str, Any]) -> str:
    """The hash of an identity from its values, with all that the version which wrote them put in."""
    return sha256(json.dumps({**values, "data": _nameless(values["data"])}, sort_keys=True).encode()).hexdigest()


def _nameless(data: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in data.items() if key != "name"}


def _shown(value: object) -> str:
    return {True: "on", False: "off", None: "none"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)


def code_of(network: Front) -> dict[str, str]:
    """The digests of :attr:`Identity.code` for a network.

    >>> from metablock.front import front
    >>> code = code_of(front("poolformer_s12", edits=["depth = 1", "dim = [8, 8, 8, 8]"]))
    >>> sorted(code)[:4], "training" in code
    (['avg_pool', 'conv', 'drop_path', 'gelu'], True)
    """
    nodes = [(".".join(path), node) for path, node in module_nodes(network.ir)]
    listed = [[path, node.operator, dict(node.context), dict(node.args), node.trainable] for path, node in nodes]
    text = json.dumps([Sources().describe(network.ir), listed], default=list, sort_keys=True)
    operators = {node.operator: node.module for _, node in nodes}
    return {
        "network": sha256(text.encode()).hexdigest()[:16],
        "training": training_digest(),
        **{name: digest_of(module) for name, module in sorted(operators.items())},
    }


def identity_of(
    network: Front, data: Data, recipe: Recipe, seed: int, *, compiled: bool = False, teacher: str = "", processes: int = 1
) -> Identity:
    """The identity of a training.

    Args:
        network: the resolved spec, with the data's input and classes, and its IR.
        data: the examples.
        recipe: how it is trained.
        seed: of weights, order, augmentation and dropout.
        compiled: whether the network is compiled.
        teacher: digest of the teacher (:func:`metablock.ablation.teacher.teacher_digest`); empty without one.
        processes: number of processes that share a batch.
    """
    return Identity(
        spec_hash(network.spec),
        code_of(network),
        recipe.model_dump(),
        data_identity(data),
        seed,
        compiled,
        teacher,
        processes,
    )


def data_identity(data: Data) -> dict[str, str]:
    """The data of an :class:`Identity`."""
    return {"name": data.name, "input": extents(data.input), "fingerprint": data.fingerprint}
