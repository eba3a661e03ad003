"""Renditions of photographs for the web. Imports nothing: a pool worker that renders needs Pillow alone."""
