"""Writers: a network as a file of another kind (standalone PyTorch, ``.pt2``, ONNX, weights, a spec)."""
