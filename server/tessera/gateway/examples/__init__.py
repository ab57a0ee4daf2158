"""Answers as this server gave them, for the description of its API: a file for each group, by method and path.

``document`` is an answer in one piece; ``stream``, where there are such, the events of one. Numbers of an embedding are
cut to three, and what else is long to its shortest form: which members there are is as it was, and tests compare it.
"""

from tessera.gateway.examples.answers import give_examples, load_examples

__all__ = ["give_examples", "load_examples"]
