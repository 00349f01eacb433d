"""Octets to a message, typed headers, and back."""

from sipproto import MessageSyntaxError, Request, SipUri, parse_message, validate
from sipproto.message import fields

data = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/WSS client.invalid;branch=z9hG4bK776asdhds\r\n"
    b'f: "Alice \\"Al\\" Smith" <sip:alice@example.com>;tag=1928301774\r\n'
    b"To: <sip:bob@example.com>\r\n"
    b"Call-ID: a84b4c76e66710\r\n"
    b"CSeq: 63104 OPTIONS\r\n"
    b"Contact: <sip:alice@client.invalid;transport=ws>, <broken\r\n"
    b"Expires: soon\r\n"
    b"Content-Length: 0\r\n\r\n"
)
message = parse_message(data)
assert isinstance(message, Request) and validate(message) is None
sender = message.headers.require(fields.FROM)
print(sender.display_name, sender.tag)
assert sender.display_name == 'Alice "Al" Smith'

# One bad entry or optional header never loses the message.
assert message.headers.get(fields.EXPIRES) is None
good, bad = message.headers.entries(fields.CONTACT)
assert isinstance(bad, MessageSyntaxError)
print(bad)

assert isinstance(message.uri, SipUri) and message.uri.host == "example.com"
assert message.to_bytes() == data  # kept as it came
