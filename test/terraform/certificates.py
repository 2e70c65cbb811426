"""Certificate authorities that are made on each run, because keys in the repository would alarm secret scanners."""
import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    def __init__(self, name: str):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = (
            self._start(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        self.certificate = self._sign(built)

    def issue(self, path: Path, host: str) -> tuple[Path, Path]:
        """Writes a certificate for `host` and its key beside `path`; returns both paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        # A common name has at most 64 characters; clients look at the alternative name only.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        built = self._start(name, key).add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        certificate_path, key_path = path.with_suffix(".pem"), path.with_suffix(".key")
        certificate_path.write_text(self._sign(built))
        key_path.touch(mode=0o600)
        key_path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return certificate_path, key_path

    def _start(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> str:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
