"""Operating several nodes as one; meets the nodes only over HTTP."""
