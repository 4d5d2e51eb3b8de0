"""Weights: checkpoints into a network by the rules of its spec, out of it under other names, and from hubs."""
