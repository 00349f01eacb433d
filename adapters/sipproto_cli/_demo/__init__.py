"""`sipproto demo`: a conference, or two phones, in one process.

The conference is also an example of an application: `_party.py` is a participant, `_acts.py` and `_media_acts.py` what
happens to three of them, `_stage.py` what they stand on, `_senses.py` a source of pictures and a listener of one's own.
"""
