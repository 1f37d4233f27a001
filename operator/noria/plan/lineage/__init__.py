"""Lineage: from what is served, or from any record on the way, to data, code and image digests, from objects alone."""
