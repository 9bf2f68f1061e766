"""A certificate authority in a directory, and the certificates that it signs for services.

Used by `godel certs`. Needs the package cryptography, which the extra `certs` installs. What must
hold: keys are readable by their owner alone from the first byte, and a file is whole or the old.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
CLOCK_SLACK = timedelta(hours=1)
"""Clocks of other machines may be behind ours."""
AUTHORITY_NAME = "godel-authority"
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
PRIVATE = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


class BadAuthority(ValueError):
    """An authority that cannot sign; the text names the file."""


class Signed(msgspec.Struct, frozen=True):
    """A certificate for these names and its key, as PEM."""

    names: tuple[str, ...]
    certificate: bytes
    key: bytes
    authority: bytes


class Authority:
    """Signs certificates that serve for both ends of a connection."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def new(cls) -> Authority:
        """A new one, valid for AUTHORITY_DAYS."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(AUTHORITY_NAME)
        public = key.public_key()
        signed = (
            _builder(name, name, public, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(is_authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(signed, key)

    @classmethod
    def kept_in(cls, directory: Path) -> Authority:
        """The one of a directory; made now when there is none. Raises BadAuthority, OSError."""
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        certificate, key = directory / "ca.crt", directory / "ca.key"
        if not certificate.exists() and not key.exists():
            made = cls.new()
            write(key, made._key.private_bytes(*PRIVATE))
            write(certificate, made.pem)
            return made
        try:
            read = serialization.load_pem_private_key(key.read_bytes(), None)
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
        except FileNotFoundError as error:
            raise BadAuthority(f"{error.filename} is missing, so nothing can be signed") from None
        except (ValueError, TypeError) as error:
            raise BadAuthority(f"{directory}: ca.crt or ca.key cannot be read: {error}") from None
        if not isinstance(read, ec.EllipticCurvePrivateKey):
            raise BadAuthority(f"{key}: no key of an elliptic curve")
        if read.public_key() != found.public_key():
            raise BadAuthority(f"{key} is not the key of {certificate}")
        return cls(found, read)

    def sign(self, names: Sequence[str], days: int) -> Signed:
        """A certificate with these DNS names, valid from now. Raises BadAuthority."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        names_there = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = _builder(_name(names[0]), self._certificate.subject, key.public_key(), days)
        signed = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(names_there, critical=False)
            .add_extension(signer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        ends = self._certificate.not_valid_after_utc
        if signed.not_valid_after_utc > ends:
            raise BadAuthority(
                f"the authority ends on {ends:%Y-%m-%d}, before a certificate of {days} days: "
                "move ca.crt and ca.key away for a new one"
            )
        pem = signed.public_bytes(serialization.Encoding.PEM)
        return Signed(tuple(names), pem, key.private_bytes(*PRIVATE), self.pem)


def write(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner may read."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
        file.write(content)
    new.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
