"""Ablation: studies that swap parts of an architecture, match what they cost, train them, and say what the numbers allow."""
