"""What holds for all tests."""

# Before anything imports trio: trio hands its random generator to Hypothesis in a way that Hypothesis then warns of.
from hypothesis import settings

# The same examples in every run: a red build has to be red again when it is looked at.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
