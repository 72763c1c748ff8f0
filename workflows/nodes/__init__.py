"""Seed 002's way to add node types, as thin adapters over the engine's own step types."""
