"""Property tests: how long an example takes is the machine's affair."""

from hypothesis import settings

settings.register_profile("quantization", deadline=None)
settings.load_profile("quantization")
