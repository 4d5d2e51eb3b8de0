"""What weight decay applies to: by what a parameter is, as timm has it, whatever a spec calls its parts."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest
import torch
from cases import SPECS, smallest
from torch import nn

import metablock
import metablock.backend.roles
from leaves import FOLDER
from metablock.ablation.optimizer import optimizer_of
from metablock.ablation.recipe import recipe
from metablock.backend.block import Block
from metablock.backend.roles import DECAYED, decayed, roles
from metablock.language.load import load_text
from metablock.language.plugins import ROLES
from metablock.language.registry import OPERATORS
from metablock.language.standard import standard
from oracles import require


def text_of(name: str, repository: Path) -> str:
    """A shipped file without the sections that name parameters or variants."""
    parts = re.split(
        r"^(?=[a-z]\w*:)", (repository / f"architectures/{name}.yaml").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return "".join(part for part in parts if part.split(":")[0] not in ("weights", "checkpoints", "facts", "init"))


def renamed(text: str) -> str:
    """The text with another name for every binding, apart from wires and from those that hide an operator."""
    fixed = {*re.findall(r"(\w+) = ", text), *OPERATORS, *standard()}
    for name in set(load_text(text).let) - fixed:
        text = re.sub(rf"(?<![\w.])(?<!=\"){name}(?!\w)(?!\s*=[^=])", f"q_{name}", text)
    return text


TABLES = ["agent_attention", "beit", "cmt", "conformer_cnn_vit", "crossvit", "deit", "mobile_former", "swin", "tnt", "volo"]


@pytest.mark.parametrize("name", TABLES)
def test_a_binding_may_have_any_name(name: str, repository: Path) -> None:
    text = text_of(name, repository)
    ours, other = (metablock.build(load_text(t), variant=smallest(name), device="meta") for t in (text, renamed(text)))
    assert text != renamed(text)
    assert [*roles(ours).values()] == [*roles(other).values()]


SPEC = """\
name: s
input: image(3, 28)
classes: {classes}
let: {{extra: {extra}}}
stem: conv(32, 4, stride=4) >> extra
stages: {{body: "res({token})"}}
head: global_pool >> linear(classes)
"""


def trained(classes: int = 9, extra: str = "layer_norm", token: str = "attention(2)") -> tuple[Block, set[str]]:
    """A network, and the parameters that a training decays."""
    model = metablock.build(load_text(SPEC.format(classes=classes, extra=extra, token=token)))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optimizer_of(model, recipe("small", weight_decay=0.05)).param_groups
    return model, {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}


@pytest.mark.parametrize(
    "token",
    [
        "window(7, attention(2, pos=relative_bias))",
        "attention(2, pos=pair_bias)",
        "attention(2, over=near(3), pos=relative_bias)",
        "attention(2, pos=continuous_bias(linear(8) >> relu >> linear(2)))",
        "attention(2, q=adaptive_avg_pool(3), pos=agent_bias(table=3)) >> resize(7)",
    ],
)
def test_no_bias_of_attention_is_decayed(token: str) -> None:
    model, names = trained(token=token)
    biases = {name for name in names if ".pos." in name}
    assert any(".pos." in name for name, _ in model.named_parameters())
    assert not biases
    assert any(name.endswith("qkv.weight") or name.endswith("kv.weight") for name in names)


def test_a_table_and_a_matrix_whatever_they_are_called() -> None:
    assert "stem.extra.weight" not in trained(extra="position")[1]
    assert "stem.extra.weight" in trained(extra="linear(32)")[1]
    assert "head.linear.weight" in trained(classes=1)[1]  # one row is a matrix still
    text = SPEC.format(classes=9, extra="linear(32)", token="id").replace("extra", "positional")
    assert roles(metablock.build(load_text(text)))["stem.positional.weight"] == "matrix"


def test_the_biases_of_mixed_kernels_are_biases() -> None:
    model = metablock.build(
        load_text("name: s\ninput: image(3, 8)\nmodel: mixture_conv(8, 3, bias=true, by=global_pool >> linear(4))")
    )
    two = {name for name, parameter in model.named_parameters() if name.endswith("bias") and parameter.dim() == 2}
    assert two
    assert not two & decayed(model)


# timm: which model decays what. `create_optimizer_v2` asks each model for its `no_weight_decay`.

# FastViT's layer scale has the shape (c, 1, 1) there and nothing excepts it, so that timm decays what it does not decay in any
# other network with a layer scale, where it has one axis.
DIFFER = {"fastvit": "scale"}
FURTHER = ["deit_tiny_distilled_patch16_224", "maxvit_rmlp_pico_rw_256"]
if os.environ.get("METABLOCK_WHOLE") == "1":
    FURTHER += [
        "caformer_s18",
        "coatnet_0_224",
        "crossvit_9_dagger_240",
        "maxvit_tiny_tf_224",
        "resnet50",
        "vit_tiny_r_s16_p8_224",
    ]


def in_timm() -> list[tuple[str, str]]:
    timm = require("timm")
    pairs = []
    for name, spec in SPECS.items():
        known = sorted(filter(timm.is_model, spec.variants), key=lambda v, spec=spec: int(spec.facts.of(v)["params"]))
        pairs += [(name, variant) for variant in known if variant in (known[0], *FURTHER)]
    return pairs


@pytest.mark.parametrize(("name", "variant"), in_timm())
def test_what_timm_decays(name: str, variant: str) -> None:
    """The marks of timm's parameters, 1 where it decays them, reach ours by the rules for weights."""
    timm = require("timm")
    from timm.optim import param_groups_weight_decay

    classes = metablock.resolved(SPECS[name], variant=variant).classes
    with torch.device("meta"):
        theirs = timm.create_model(variant, num_classes=classes)
    exempt = theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else ()
    groups = param_groups_weight_decay(theirs, 0.05, no_weight_decay_list=exempt)
    marked = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    marks = {key: torch.zeros(value.shape) for key, value in theirs.state_dict().items()}
    marks |= {key: torch.full(value.shape, float(id(value) in marked)) for key, value in theirs.named_parameters()}
    model = metablock.build(SPECS[name], variant=variant, weights=marks)
    ours, known, wanted = decayed(model), roles(model), set()
    for key, value in model.named_parameters():
        assert value.min() == value.max(), key
        if value.min() and known[key] != DIFFER.get(name):
            wanted.add(key)
    assert ours == wanted


# Our operators, and other people's


def declared(node: ast.ClassDef) -> dict[str, str]:
    values = [s.value for s in node.body if isinstance(s, ast.Assign) for t in s.targets if getattr(t, "id", "") == "roles"]
    return ast.literal_eval(values[0]) if values else {}


def own_parameters(node: ast.ClassDef) -> set[str]:
    """The names that a class gives to parameters: ``self.NAME = nn.Parameter(...)``, or a list of them."""
    names = set()
    for statement in ast.walk(node):
        if isinstance(statement, ast.Assign) and re.search(r"nn\.Parameter(List)?\(", ast.unparse(statement.value)):
            names |= {target.attr for target in statement.targets if isinstance(target, ast.Attribute)}
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_every_operator_says_what_its_parameters_are(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            assert set(declared(node)) == own_parameters(node) - {"bias"}, node.name
            assert set(declared(node).values()) <= set(ROLES)


def test_every_role_is_explained() -> None:
    rows = re.findall(r"^(\w+) +[a-z]", (metablock.backend.roles.__doc__ or "").split("\n\n")[1], flags=re.MULTILINE)
    assert sorted(set(rows) - {"role"}) == sorted(ROLES)
    assert set(ROLES) > DECAYED


PLUGIN = '''
import metablock, torch
from torch import nn

@metablock.operator(name="{name}")
class Op(nn.Module):
    """The input."""

    takes = ("map",)
    {roles}

    def __init__(self, c: int):
        super().__init__()
        self.grid = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gate = nn.Parameter(torch.zeros(c))
        self.inner = nn.Sequential(nn.Linear(c, 1), nn.LayerNorm(1), nn.Embedding(3, 2), nn.PReLU())

    def forward(self, x):
        return x
'''


def plugin(folder: Path, name: str, line: str) -> str:
    path = folder / f"{name}_plugin.py"
    path.write_text(PLUGIN.format(name=name, roles=line))
    try:
        metablock.load_plugin(str(path))
        model = metablock.build(load_text(f"name: s\ninput: image(3, 8)\nmodel: {name}"), device="meta")
    finally:
        OPERATORS.pop(name, None)
    return roles(model)


def test_a_plugin(tmp_path: Path) -> None:
    plain = {key.split(".", 1)[1]: role for key, role in plugin(tmp_path, "roles_plain", "").items()}
    inner = {"inner.0.weight": "matrix", "inner.0.bias": "bias", "inner.1.weight": "norm", "inner.1.bias": "bias"}
    inner |= {"inner.2.weight": "table", "inner.3.weight": "scale"}
    assert plain == {"grid": "matrix", "gate": "vector", **inner}
    said = plugin(tmp_path, "roles_said", 'roles = {"grid": "table", "inner": "table"}')
    assert {key.split(".", 1)[1]: role for key, role in said.items()} == {
        "grid": "table",
        "gate": "vector",
        **dict.fromkeys(inner, "table"),
    }
    with pytest.raises(
        metablock.MetablockError, match=r"'tabel' is no role of a parameter of 'Op'\n(.*\n)*.*did you mean 'table'"
    ):
        plugin(tmp_path, "roles_wrong", 'roles = {"grid": "tabel"}')
    with pytest.raises(
        metablock.MetablockError, match=r"`roles` of 'Op' is no dict of words\n(.*\n)*.*the name of each parameter"
    ):
        plugin(tmp_path, "roles_list", 'roles = ["grid"]')


def test_modules_of_others() -> None:
    attention = roles(nn.MultiheadAttention(8, 2, add_bias_kv=True))
    assert attention["in_proj_weight"] == "matrix"
    assert {attention[name] for name in ("in_proj_bias", "bias_k", "out_proj.bias")} == {"bias"}
    assert set(roles(nn.LSTM(4, 4)).values()) == {"matrix", "bias"}
    assert roles(nn.Conv2d(3, 8, 1))["weight"] == "matrix"
