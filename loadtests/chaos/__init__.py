"""Kills parts of a running server under load, at random, and counts what its clients lose by that."""
