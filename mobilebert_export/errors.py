"""What can go wrong, in one tree.

    ExportError                  anything this package raises on purpose
    ├── UsageError               the caller's input: exit code 2
    │   ├── DataError            a file of text rows
    │   └── ModelFileError       a model file that cannot be read
    ├── EquivalenceError         the emitted file does not compute what the reference does: exit code 1
    └── GraphError               a graph that contradicts itself: a fault of this package, or of a caller who built one

The reference model has its own tree below `mobilebert_reference.ReferenceModelError`; the command treats it as a
`UsageError`. Every message is one line: what was expected, what came, what to do.
"""


class ExportError(Exception):
    """Anything this package raises on purpose."""


class UsageError(ExportError):
    """The caller's input cannot be used."""


class DataError(UsageError):
    """A file of text rows cannot be used."""


class ModelFileError(UsageError):
    """A model file cannot be read."""


class EquivalenceError(ExportError):
    """The emitted file does not compute what the reference does."""


class GraphError(ExportError):
    """A graph contradicts itself."""
