"""The fleet's domain: what should be and what is; pure."""
