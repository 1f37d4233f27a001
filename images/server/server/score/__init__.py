"""The offline gate: `python3 -m server.score` scores champion and challenger on the same held-out samples."""
