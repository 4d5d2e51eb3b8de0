"""Passes on a built network: re-parameterisation, feature extraction, early exit."""
