"""Measurements that stay: run them from the top of the repository, ``python -m benchmarks.against_timm``."""
