"""Command line for sipproto."""


def main() -> None:
    """The entry point of the `sipproto` command."""
    try:
        from sipproto_cli._app import main as run  # here, because Ctrl-C may come while all of it is loaded

        run()
    except KeyboardInterrupt:
        import sys

        print("sipproto: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


__all__ = ["main"]
