"""Passes: each takes a built network and returns another (re-parameterisation, feature extraction, early exit)."""
