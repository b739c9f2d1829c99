"""MobileBERT checkpoints to verified on-device models."""
