"""What holds for all tests."""

# Before anything imports trio: trio hands its random generator to Hypothesis in a way that Hypothesis then warns of.
import signal

from hypothesis import settings

from tests.effort import THOROUGH

# A shell that runs the tests in the background has SIGINT ignored, which the commands that tests start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: a red build has to be red again when it is looked at.
settings.register_profile("repeatable", derandomize=True, deadline=None)
# Other examples in each run, and many more of them: `SIPPROTO_TESTS=thorough pytest ...`; a failure prints its blob.
settings.register_profile("thorough", derandomize=False, deadline=None, database=None, print_blob=True)
settings.load_profile("thorough" if THOROUGH else "repeatable")
