"""What a certificate says of itself, for a user to compare."""

from __future__ import annotations

from cryptography import x509

from sipproto_client import fingerprint
from sipproto_phone.model import UntrustedCertificate


def described(host: str, certificate: bytes) -> UntrustedCertificate:
    """certificate: DER. What cannot be read of it is left empty; the fingerprint can always be told."""
    subject = issuer = not_after = ""
    try:
        read = x509.load_der_x509_certificate(certificate)
        subject, issuer = read.subject.rfc4514_string(), read.issuer.rfc4514_string()
        not_after = read.not_valid_after_utc.date().isoformat()
    except ValueError:
        pass
    return UntrustedCertificate(
        host=host,
        fingerprint=fingerprint(certificate),
        subject=subject[:500],
        issuer=issuer[:500],
        not_after=not_after,
    )
