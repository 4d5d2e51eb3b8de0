"""The catalogue in other libraries: ``timm`` and ``transformers``. Each bridge needs its library; nothing else does."""
