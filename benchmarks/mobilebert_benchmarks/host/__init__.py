"""This machine: times, processor time and memory of a model, each in a process of its own."""
