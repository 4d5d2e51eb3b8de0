"""The costs of one backbone with six token mixers. Nothing is allocated.

python examples/swap_mixers.py [ARCHITECTURE]
"""

import sys

import metablock
from metablock.api import example
from metablock.backend.costs import macs, parameters

MIXERS = ("attention(dim // 32)", "pool(3)", "dw(7)", "dynamic_conv(7)", "hilo(dim // 32)", "agent_attention(dim // 32)")


def main(architecture: str = "caformer_s18") -> None:
    print(f"{architecture:28}{'parameters':>12}{'MACs':>9}")
    for mixer in MIXERS:
        model = metablock.build(architecture, edits=[f"token = {mixer}"], device="meta")
        trainable, frozen = parameters(model)
        print(f"{mixer:28}{(trainable + frozen) / 1e6:11.2f}M{macs(model, *example(model))[''] / 1e9:8.2f}G")


if __name__ == "__main__":
    main(*sys.argv[1:])
