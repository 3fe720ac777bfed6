"""TLS: a PEM file with a private key and certificates, checked in words, and the OpenSSL context that serves it."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL, crypto

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LONGEST = 1 << 20  # bytes of a PEM file
PROTOCOLS = (b"http/1.1", b"http/1.0")  # that clients may choose (ALPN), the best first
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secrecy and authenticated encryption alone
OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_BEGIN = b"-----BEGIN "


class Unusable(Exception):
    """A file that cannot be used for TLS. The message is the predicate of a sentence whose subject is the file."""


class Identity(NamedTuple):
    """Who we are: a private key, and its certificate followed by those of the authorities between it and a root."""

    key: Any  # of one of cryptography's types
    chain: Sequence[x509.Certificate]

    @property
    def not_before(self) -> float:
        """When the certificate becomes valid, in epoch seconds."""
        return self.chain[0].not_valid_before_utc.timestamp()

    @property
    def not_after(self) -> float:
        """When the certificate expires, in epoch seconds."""
        return self.chain[0].not_valid_after_utc.timestamp()


def read_identity(path: Path) -> Identity:
    """The private key and the certificates of a PEM file, in either order. Raises Unusable."""
    content, mode = _read(path)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise Unusable("has a private key that every user of this machine may read or change: chmod o= it")
    blocks = _blocks(content)
    keys = [block for label, block in blocks if label.endswith(b"PRIVATE KEY")]
    if len(keys) != 1:
        raise Unusable(f"has {'more than one' if keys else 'no'} private key")
    try:
        key = load_pem_private_key(keys[0], None)
    except TypeError:
        raise Unusable("has a private key with a passphrase: remove the passphrase") from None
    except Exception:  # of many kinds; their texts speak of ASN.1
        raise Unusable("has a private key that cannot be read") from None
    chain = _certificates(blocks)
    matching = [_public(each) == _public(key) for each in chain]
    if not matching[0]:
        why = "its certificate must be the first" if any(matching) else "it does not belong to the certificate"
        raise Unusable(f"has a private key that does not match: {why}")
    return Identity(key, chain)


def read_authorities(path: Path) -> Sequence[x509.Certificate]:
    """The certificates of a PEM file. Raises Unusable."""
    return _certificates(_blocks(_read(path)[0]))


def make_context(identity: Identity, authorities: Sequence[x509.Certificate]) -> SSL.Context:
    """A context that serves `identity`. With `authorities`, a client must have a certificate that one of them has
    signed. Raises Unusable.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(os.urandom(16))  # OpenSSL requires one where clients have certificates
    context.set_alpn_select_callback(_choose_protocol)
    try:
        context.set_cipher_list(CIPHERS)
        context.use_certificate(identity.chain[0])
        for each in identity.chain[1:]:
            context.add_extra_chain_cert(each)
        context.use_privatekey(identity.key)
        context.check_privatekey()
        if authorities:
            _require_certificates(context, authorities)
    except (SSL.Error, crypto.Error) as wrong:  # for example a key that is too short
        reasons = ", ".join(str(error[-1]) for error in (wrong.args[0] if wrong.args else ()))
        raise Unusable(f"is refused by OpenSSL: {reasons}") from None
    return context


def _require_certificates(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    store = cast("crypto.X509Store", context.get_cert_store())  # each context has one
    # An authority in the file is trusted even if it is not a root.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for each in authorities:
        store.add_cert(crypto.X509.from_cryptography(each))
        context.add_client_ca(each)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_options(SSL.OP_NO_TICKET)  # each connection shows its certificate


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return next((each for each in PROTOCOLS if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)


def _read(path: Path) -> tuple[bytes, int]:
    """The content and the mode of a file."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LONGEST + 1) if stat.S_ISREG(mode) else None
    except OSError as wrong:
        raise Unusable(f"cannot be read: {wrong.strerror or wrong}") from None
    if content is None or len(content) > LONGEST:
        raise Unusable("is not a PEM file")
    return content, mode


def _blocks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The labels and the texts of the blocks of a PEM file."""
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(content)]
    if len(blocks) != content.count(_BEGIN):
        raise Unusable("is incomplete: a block has no end")
    return blocks


def _certificates(blocks: Sequence[tuple[bytes, bytes]]) -> list[x509.Certificate]:
    try:
        found = [x509.load_pem_x509_certificate(block) for label, block in blocks if label == b"CERTIFICATE"]
    except ValueError:
        raise Unusable("has a certificate that cannot be read") from None
    if not found:
        raise Unusable("has no certificate")
    return found


def _public(owner: Any) -> bytes:
    """The public key of a certificate or of a private key."""
    public: bytes = owner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public
