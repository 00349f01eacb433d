"""The `sipproto` command line."""

from sipproto_cli._app import app, main

__all__ = ["app", "main"]
