"""Networks as files of plain PyTorch: the same keys, the same numbers to the bit, and a text that a person can read."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import SMALLEST, small
from test_ranks import CASES, network, network_of
from torch import Tensor, nn

import metablock
from metablock import operators
from metablock.api import example
from metablock.backend.block import Block
from metablock.errors import MetablockError
from metablock.language.load import load_text
from metablock.writers.standalone import standalone
from metablock.writers.standalone.text import WIDTH, wrapped


def flat(output: Any) -> list[Tensor]:
    """Any output as a list of tensors."""
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else [output]
    return [output] if isinstance(output, Tensor) else [tensor for part in parts for tensor in flat(part)]


def run(text: str) -> dict[str, Any]:
    """The namespace of a file that cannot import metablock."""

    def guarded(name: str, *args: Any, **kwargs: Any) -> types.ModuleType:
        assert not name.startswith("metablock"), "a standalone file stands alone"
        return builtins.__import__(name, *args, **kwargs)

    space = {"__name__": "standalone", "__builtins__": {**vars(builtins), "__import__": guarded}}
    exec(compile(text, "standalone.py", "exec"), space)
    return space


def compare(model: Block, gradients: bool = False) -> str:
    """Asserts that the file of a model does to the bit what the model does; gives its text."""
    with torch.no_grad():
        for parameter in model.parameters():  # zeros and tiny layer scales would hide a branch
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    text = standalone(model)
    assert max(map(len, text.split("\n"))) <= WIDTH
    other = run(text)["Model"]()
    shapes = [(key, value.shape, value.dtype) for key, value in model.state_dict().items()]
    assert shapes == [(key, value.shape, value.dtype) for key, value in other.state_dict().items()]
    names = [(name, p.requires_grad) for name, p in model.named_parameters()]
    assert names == [(name, p.requires_grad) for name, p in other.named_parameters()]
    for ours, theirs in zip(model.named_buffers(), other.named_buffers(), strict=True):
        assert ours[0] == theirs[0] and ours[1].shape == theirs[1].shape
    other.load_state_dict(model.state_dict())
    inputs = example(model, 2)
    for training in (False, True):
        outputs = []
        for either in (model, other):
            torch.manual_seed(1)
            with torch.set_grad_enabled(gradients):
                outputs.append(flat(either.train(training)(*inputs)))
        assert len(outputs[0]) == len(outputs[1])
        for ours, theirs in zip(*outputs, strict=True):
            assert torch.equal(ours, theirs), (training, (ours - theirs).abs().max())
    for ours, theirs in zip(model.buffers(), other.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    if gradients:
        for parts in outputs:
            sum(part.square().sum() for part in parts).backward()
        for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)
    return text


@pytest.mark.parametrize(("name", "variant"), SMALLEST, ids=[variant for _, variant in SMALLEST])
def test_to_the_bit(name: str, variant: str) -> None:
    compare(small(name, variant))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_operator_in_every_rank(rank: int) -> None:
    for name, given in CASES:
        if given == rank:
            compare(metablock.build(load_text(network_of(name, rank))))


TINY = """
name: tiny
input: image(3, 16)
let:
  block: res(layer_norm >> token) >> res(layer_norm >> mlp(2), scale=0.1)
  token: attention(2)
  shrink: conv(dim, 3, stride=2)
shared:
  common: linear(c)
stem: conv(dim[0], 3, stride=2, padding="same") >> batch_norm
stages:
  depth: [2, 2]
  dim: [8, 16]
  drop: ramp(0.3)
  down: [id, shrink]
  body: depth * block
head: global_pool >> dropout(0.1) >> linear(classes)
"""


def tiny(*edits: str, text: str = TINY) -> Block:
    return metablock.build(load_text(text.replace("shared:\n  common: linear(c)\n", "")), edits=edits, classes=5)


@pytest.mark.parametrize(
    "text",
    [
        "attention(2, kv_heads=1)",
        "attention(2, mix=linear(2), mix_after=linear(2), mask=ones(32, 1))",
        'attention(2, k=linear(c) >> softmax(over="tokens"), norm="none")',
        'attention(2, over="channels", qk_norm=l2norm(over="tokens"))',
        "relu >> nmf(3) >> channel_dropout(0.1)",
        "id + batch_flip",
    ],
)
def test_operators_of_one_line(text: str) -> None:
    compare(metablock.build(load_text(network(text, 2))))


def test_gradients() -> None:
    compare(tiny(), gradients=True)


def test_it_reads_well() -> None:
    text = compare(tiny())
    assert "import metablock" not in text
    assert (
        '''
class Block(nn.Module):
    """res(layer_norm >> token) >> res(layer_norm >> mlp(2), scale=0.1)"""

    def __init__(self, dim, rate):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(dim)
        self.token = Attention(dim)
        self.drop = DropPath(rate=rate)
        self.layer_norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.scale = Scale(dim, 2, "grid", init=0.1)
        self.drop2 = DropPath(rate=rate)

    def forward(self, x):
        x = x + self.drop(self.token(self.layer_norm1(x.movedim(1, -1)))).movedim(-1, 1)
        y = x.movedim(1, -1)
        return x + self.drop2(self.scale(self.mlp(self.layer_norm2(y)))).movedim(-1, 1)
'''
        in text
    )
    assert "for block in self.blocks:\n            x = block(x)\n" in text
    assert "nn.ModuleList(Block(16, rate) for rate in " in text
    assert "self.attend = Attend(heads=2, scale=(dim // 2) ** -0.5)" in text


def test_the_head_of_the_file() -> None:
    model = metablock.build("poolformer_s12", device="meta", edits=["token = pool(5)"])
    head = standalone(model).split("import torch")[0]
    assert all(line.startswith("#") for line in head.split("\n") if line)
    for said in ("poolformer_s12", metablock.__version__, "load_state_dict", "token: pool(5)", "(batch, 3, 224, 224)"):
        assert said in head
    assert "network.{" not in head  # the rules for the weights of others


def test_a_text_of_the_spec_is_never_code() -> None:
    text = TINY.replace("name: tiny", 'name: tiny\npaper: {title: "a \\"\\"\\" \\\\ title\\nimport os"}')
    assert "\nimport os" not in compare(tiny(text=text))


def test_parts_that_are_shared() -> None:
    text = TINY.replace("token: attention(2)", "token: common").replace("dim: [8, 16]", "dim: [8, 8]")
    model = metablock.build(load_text(text), classes=5)
    source = compare(model)
    assert ".links = {" in source


def test_several_inputs_and_outputs_and_what_inference_gives() -> None:
    text = """
name: pair
input:
  left: image(3, 8)
  right: image(3, 8)
model: |
  left, right ->
  a = left >> conv(4, 3)
  b = right >> conv(4, 3)
  return one = a * b >> global_pool >> linear(2), two = a >> global_pool >> linear(2)
predict: one, two -> (one + two) / 2
"""
    compare(metablock.build(load_text(text)), gradients=True)


def test_a_network_whose_parts_were_collapsed() -> None:
    model = metablock.build("repvgg", edits=["depth = [1, 1, 1, 1, 1]"], input="3x32x32", classes=3).eval()
    deployed = metablock.reparameterize(model)
    text = compare(deployed)
    assert "BatchNorm" not in text and "form: for inference" in text


def test_frozen_parts_stay_frozen() -> None:
    assert ".requires_grad_(False)" in compare(tiny("token = frozen(conv(dim, 3))"))


def test_it_is_a_module_like_any(tmp_path: Path) -> None:
    """In a process of its own: written, imported, trained a step; nothing of metablock is there."""
    metablock.write(tiny(), tmp_path / "net.py")
    code = (
        "import sys, torch, net; m = net.Model(); m(torch.randn(2, 3, 16, 16)).sum().backward(); "
        "import pickle, copy; pickle.loads(pickle.dumps(copy.deepcopy(m))); assert 'metablock' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_class_of_a_batch_norm_is_torchs_where_the_rank_is_known() -> None:
    assert "nn.BatchNorm2d(" in standalone(tiny())


def test_what_was_put_in_by_hand_is_a_problem() -> None:
    model = tiny()
    model.head.linear = nn.Identity()
    with pytest.raises(MetablockError, match=r"head\.linear: a Identity put in by hand"):
        standalone(model)
    with pytest.raises(MetablockError, match="is no network of metablock"):
        standalone(nn.Linear(1, 1))  # type: ignore[arg-type]


def test_a_layer_of_torchs_put_in_by_hand_is_written(tmp_path: Path) -> None:
    """From its own settings, not from those of the spec."""
    model = tiny()
    last = model.head.linear
    model.head.linear = nn.Linear(last.in_features, last.out_features + 2, bias=False)
    text = standalone(model)
    assert f"nn.Linear({last.in_features}, {last.out_features + 2}, bias=False)" in text
    (tmp_path / "changed.py").write_text(text)
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("changed", tmp_path / "changed.py"))
    module.__spec__.loader.exec_module(module)
    written = module.Model().eval()
    written.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(written(x), model.eval()(x))


@pytest.mark.parametrize("name", ["none_", "true_", "false_", "module", "tensor", "nn"])
def test_a_binding_whose_class_would_have_a_name_of_python_s(name: str) -> None:
    text = f"name: s\ninput: image(4, 8)\nlet:\n  {name}(k=3): (dw(k) >> relu) + dw(3)\nmodel: 2 * {name} >> {name}(5)\n"
    compare(metablock.build(load_text(text)))


def test_definitions_of_operators_have_names_of_their_own() -> None:
    """They stand in one file."""
    found: dict[str, str] = {}
    for path in sorted(Path(operators.__path__[0]).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                assert found.setdefault(node.name, path.stem) == path.stem, f"{node.name} in {path.stem} and {found[node.name]}"


@pytest.mark.parametrize(
    "line",
    [
        f"x = f({', '.join(f'argument_{i}=value({i})' for i in range(20))})",
        f"    y = [{', '.join(str(i / 7) for i in range(40))}]",
        f"    # {'a comment ' * 20}",
        f'    """{"a sentence " * 20}"""',
        f"call(first, 'a, b (c', [{', '.join('x' * 10 for _ in range(20))}])  # {'why ' * 5}",
        "    blocks = [Block(" + "size, " * 20 + "rate) for size, rate in zip(" + "first.second.sizes, " * 6 + "strict=True)]",
    ],
)
def test_long_lines_are_broken(line: str) -> None:
    lines = wrapped(line)
    assert len(lines) > 1 and max(map(len, lines)) <= WIDTH
    indent = len(line) - len(line.lstrip())
    assert all(len(part) - len(part.lstrip()) >= indent for part in lines)
    whole, broken = (ast.parse(textwrap.dedent(text)) for text in (line, "\n".join(lines)))
    if '"""' in line:  # the words of a docstring stand on other lines
        assert [ast.literal_eval(tree.body[0].value).split() for tree in (whole, broken)] == [["a", "sentence"] * 20] * 2
    else:
        assert ast.dump(whole) == ast.dump(broken)


def test_a_number_of_a_block_hides_none_of_its_stage() -> None:
    """One differs from block to block, the other from stage to stage alone, and both have the name of their argument."""
    block = "pad(2 + stage + index, 0) >> pad(0, 3 + stage) >> conv(4, 3)"
    compare(metablock.build(load_text(f"name: t\ninput: image(4, 16)\nstages:\n  depth: [2, 2]\n  body: depth * ({block})\n")))


def test_ruff_likes_it(tmp_path: Path, repository: Path) -> None:
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    for name in ("caformer_s18", "agent_swin_t"):
        (tmp_path / f"{name}.py").write_text(standalone(metablock.build(name, device="meta")))
    command = [sys.executable, "-m", "ruff", "check", "--config", str(repository / "pyproject.toml"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
