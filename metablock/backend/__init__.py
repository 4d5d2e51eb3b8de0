"""The backend: from the IR to an ``nn.Module`` that runs, its initial weights, its costs, its compilation."""
