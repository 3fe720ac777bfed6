"""Who a client is by its certificate: the common name, if the certificate has exactly one."""

from __future__ import annotations

from typing import Any

from cryptography.x509.oid import NameOID


def client_name(transport: Any) -> str | None:
    """The name in the certificate that the client of this transport has shown. None over a plain connection, without a
    certificate, and for a certificate whose name is ambiguous or not printable.

    TLS has verified the certificate: it asks for one only where authorities are named (see presque.process.tls).
    """
    ask = getattr(transport, "getPeerCertificate", None)
    shown = None if ask is None else ask()
    if shown is None:
        return None
    names = [each.value for each in shown.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or not isinstance(names[0], str) or not names[0].isprintable():
        return None
    return names[0] or None
