"""Weights: loads checkpoints by the rules of a spec, exports weights under other names, downloads checkpoints."""
