"""The engines in front of the nodes: `files.py` says how a routing table becomes their files; read it first."""
