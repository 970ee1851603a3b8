"""Certificates for TLS tests, made by openssl: a CA, and what it has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlencode

from tests.require import executable


class Certificates:
    """The files of a CA in ``folder``, with a certificate for 127.0.0.1 and one for a client."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"),
        )
        self.server = self._signed("server", "IP:127.0.0.1")
        self.client = self._signed("client", "DNS:client")

    def options(self, *, ca: bool = True, client: bool = True) -> str:
        """Return the options of a Redis URL."""
        options = {"ssl_ca_certs": str(self.ca)} if ca else {}
        if client:
            certificate, key = map(str, self.client)
            options |= {"ssl_certfile": certificate, "ssl_keyfile": key}
        return urlencode(options)

    def server_options(self) -> tuple[str, ...]:
        """Return the options of redis-server; it requires a client certificate by default."""
        certificate, key = map(str, self.server)
        return (
            *("--tls-cert-file", certificate, "--tls-key-file", key),
            *("--tls-ca-cert-file", str(self.ca), "--tls-replication", "yes"),
        )

    def _signed(self, name: str, subject: str) -> tuple[Path, Path]:
        """Return the files of a certificate and its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={subject}", "-addext", "basicConstraints=CA:FALSE"),
            *("-keyout", key.name, "-out", certificate.name),
        )
        return certificate, key

    def _openssl(self, *words: str) -> None:
        command = [executable("openssl"), *words]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
