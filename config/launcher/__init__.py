"""The launcher behind `make`: embedded servers, one small supervisor, nothing to install first.

`bootstrap` runs under any Python and makes `.venv`; everything else runs inside it. Nothing here
imports Django, so that a broken setting is reported by the process that reads it.
"""
