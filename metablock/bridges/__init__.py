"""Where people already work: the catalogue in timm, and in transformers. Each needs its library, nothing else does."""
