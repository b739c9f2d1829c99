"""Runtimes: each loads an emitted file and runs it on one machine."""
