"""The catalogue: shipped architectures by name, starter specs, the editors' schema."""
