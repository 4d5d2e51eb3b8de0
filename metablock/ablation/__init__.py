"""Ablation studies: swap parts of an architecture, match what the variants cost, train them, and test the differences."""
