"""Keys, certificates and authorities for the tests, as PEM."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

if TYPE_CHECKING:
    from pathlib import Path

ONE_DAY = timedelta(days=1)


class Issued:
    """A key and its certificate: `issuer`'s, or its own. It is valid from `begins` until `ends`, counted from now."""

    def __init__(
        self,
        name: str,
        issuer: Issued | None = None,
        begins: timedelta = -ONE_DAY,
        ends: timedelta = 30 * ONE_DAY,
        is_authority: bool = False,
        names: list[str] | None = None,
        host: str = "localhost",
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each) for each in names or [name]])
        now = datetime.now(UTC)
        built = x509.CertificateBuilder(
            issuer.subject if issuer else self.subject,
            self.subject,
            self.key.public_key(),
            x509.random_serial_number(),
            now + begins,
            now + ends,
        )
        built = built.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        self.certificate = built.sign((issuer or self).key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    def key_pem(self, passphrase: bytes = b"") -> bytes:
        how: Any = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)

    @property
    def both(self) -> bytes:
        """The certificate and the key, as a deploy hook puts them together."""
        return self.pem + self.key_pem()

    def write(self, path: Path, content: bytes | None = None) -> Path:
        """Replace the file at once, as `install` and `mv` do."""
        new = path.with_name(path.name + ".new")
        new.touch(0o600)
        new.write_bytes(self.both if content is None else content)
        return new.rename(path)
