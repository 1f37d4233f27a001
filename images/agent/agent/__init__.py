"""Noria's agent: shows a training's progress and publishes what it wrote, beside code that knows nothing of Noria."""
