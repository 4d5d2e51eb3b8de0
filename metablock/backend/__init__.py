"""The backend: from the IR to an ``nn.Module``, its initial weights, its costs and its compilation."""
