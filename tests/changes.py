"""Changes to the values of a configuration, for tests of what is refused."""

from __future__ import annotations


def put(*path):
    """A change that sets ``path[:-1]`` to ``path[-1]``."""
    *keys, last, value = path

    def change(values):
        for key in keys:
            values = values[key]
        values[last] = value

    return change
