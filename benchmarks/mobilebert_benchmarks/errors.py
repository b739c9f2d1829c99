"""What can go wrong, in one tree.

    BenchmarkError               anything this package raises on purpose
    ├── SetupError               a tool is missing, or what is downloaded or built is not what it should be
    │   └── UnreachableError     what is to be installed cannot be had here: no root, no network
    ├── UnknownCoreError         a name that no profile has
    ├── ModelError               the runtime refuses the model
    ├── GuestError               the emulated program crashed, took too long, or said what cannot be
    ├── HostError                the process that measures on this machine does not answer
    ├── PhoneError               no phone that can be used, or it says what cannot be
    ├── MismatchError            the guest is not the core that was asked for, or does not run its kernels
    ├── BaselineError            a baseline that cannot be read, or was made with other versions
    └── RegressionError          a model needs more instructions than its baseline: exit code 1

Every message is one line: what was expected, what came, what to do.
"""


class BenchmarkError(Exception):
    """Anything this package raises on purpose."""


class SetupError(BenchmarkError):
    """The emulated ARM side is not there and cannot be made."""


class UnreachableError(SetupError):
    """What is to be installed cannot be had here: no right to install, or no network."""


class UnknownCoreError(BenchmarkError):
    """No profile has this name."""


class ModelError(BenchmarkError):
    """The runtime refuses the model."""


class GuestError(BenchmarkError):
    """The emulated program crashed, took too long, or said what cannot be."""


class HostError(BenchmarkError):
    """The process that measures on this machine does not answer."""


class PhoneError(BenchmarkError):
    """No phone that can be used, or it says what cannot be."""


class MismatchError(BenchmarkError):
    """What ran is not what the profile says: a number from it would mislead."""


class BaselineError(BenchmarkError):
    """The baseline cannot be compared with."""


class RegressionError(BenchmarkError):
    """A model needs more instructions than its baseline allows."""
