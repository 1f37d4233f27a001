"""Noria's recipes: trainings that need no code of the user's, written against the pod contract as any user's code would be."""
