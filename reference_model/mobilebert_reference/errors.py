"""What can go wrong with a checkpoint, as one tree.

    ReferenceModelError
    ├── ConfigurationError    a configuration that describes no MobileBERT
    ├── CheckpointError       a directory or a weights file that is not what its configuration says
    └── TokenizerError        a vocabulary or tokenizer file that cannot be used

Every message is one line: what was expected, what came, what to do.
"""

__all__ = ["CheckpointError", "ConfigurationError", "ReferenceModelError", "TokenizerError"]


class ReferenceModelError(Exception):
    """Any mistake in the files or numbers that a caller hands in."""


class ConfigurationError(ReferenceModelError):
    """A configuration that describes no MobileBERT; the message names the fields."""


class CheckpointError(ReferenceModelError):
    """A checkpoint directory that cannot be read; the message names the file or the tensors."""


class TokenizerError(ReferenceModelError):
    """A vocabulary or tokenizer file that cannot be used; the message names the file."""
