"""The page of the phone in a window of its own, by pywebview. Reads the address from standard input; ends with the window."""

from __future__ import annotations

import sys

import webview  # pyright: ignore[reportMissingImports]


def main() -> None:
    webview.create_window("sipproto", sys.stdin.read().strip(), width=1100, height=800, min_size=(360, 520))
    webview.start()


if __name__ == "__main__":
    main()
