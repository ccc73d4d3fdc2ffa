"""One stage a file, one function a stage: ``<name>(context, ...)`` does what the rule ``<name>`` runs, and leaves the record ``<name>``.

The command ``simlm <name>`` (with ``-`` for ``_``) is made from the function: its options are the parameters, their help
the text beside the type, its description the module's docstring. Heavy imports stand inside the function, so that
``--help`` and a mistake in the configuration are answered at once.
"""
