"""For tests of what is built on sipproto: a media engine without media (docs/testing-your-app.md)."""

from sipproto.testing._fake_call import FakeCall
from sipproto.testing._fake_engine import FAKE_CAPABILITIES, FakeMediaEngine

__all__ = ["FAKE_CAPABILITIES", "FakeCall", "FakeMediaEngine"]
