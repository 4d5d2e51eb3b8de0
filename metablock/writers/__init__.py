"""Writers: a network as a file: weights, standalone PyTorch code, ``.pt2``, ONNX."""
