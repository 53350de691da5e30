"""The HTTP process. `pipeline.py` is the path of one address; read it first."""
