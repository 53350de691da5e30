"""Replicated data and the configuration centre: every region writes its own, everybody reads all."""
