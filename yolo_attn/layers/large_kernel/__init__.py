"""Gates from large, decomposed kernels."""
