"""The softphone: one process holds SIP, sound, settings and journal; a local page or the terminal is the view of it."""

__all__: list[str] = []
