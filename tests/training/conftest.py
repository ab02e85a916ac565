"""Property tests draw the same examples every time and are not scored by a busy machine's clock."""

from hypothesis import settings

settings.register_profile("training", deadline=None, derandomize=True)
settings.load_profile("training")
