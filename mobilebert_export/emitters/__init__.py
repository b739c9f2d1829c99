"""Emitters: each writes a graph as the bytes of one file format."""
