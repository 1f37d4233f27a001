"""Noria: an operator that trains, versions and serves machine learning models on Kubernetes."""
