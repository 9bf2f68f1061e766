"""`godel certs`: what it writes and prints, renewing, and what it says when it cannot."""

from __future__ import annotations

import stat
import subprocess
import sys
from base64 import b64decode
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from tests.unit.cli.conftest import Godel

SERVICES = {"binder", "client", "dispatcher", "scheduler", "sharding"}


def certificate(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes())


def names(directory: Path) -> list[str]:
    found = certificate(directory).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


def test_each_service_has_a_certificate_of_one_authority(godel: Godel, tmp_path: Path) -> None:
    ran = godel("certs", str(tmp_path / "c"), "--days", "3", "--schedulers", "2")
    assert (ran.code, ran.err) == (0, "")
    assert {path.name for path in (tmp_path / "c").iterdir()} == SERVICES | {"ca.crt", "ca.key"}
    authority = x509.load_pem_x509_certificate((tmp_path / "c" / "ca.crt").read_bytes())
    for service in SERVICES:
        directory = tmp_path / "c" / service
        made = certificate(directory)
        made.verify_directly_issued_by(authority)
        assert names(directory)[0] == service
        assert made.not_valid_after_utc - made.not_valid_before_utc < timedelta(days=3, hours=2)
    assert names(tmp_path / "c" / "scheduler") == ["scheduler", "scheduler-0", "scheduler-1"]


def test_only_the_owner_may_read_any_of_it(godel: Godel, tmp_path: Path) -> None:
    godel("certs", str(tmp_path / "c"))
    for path in [tmp_path / "c", *(tmp_path / "c").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_authority_that_is_there_signs_again(godel: Godel, tmp_path: Path) -> None:
    godel("certs", str(tmp_path))
    kept, before = (tmp_path / "ca.key").read_bytes(), certificate(tmp_path / "binder")
    ran = godel("certs", str(tmp_path))
    after = certificate(tmp_path / "binder")
    assert ran.code == 0
    assert (tmp_path / "ca.key").read_bytes() == kept
    assert after.serial_number != before.serial_number
    assert after.issuer == before.issuer


def test_secrets_hold_the_same_files(godel: Godel, tmp_path: Path) -> None:
    ran = godel("certs", str(tmp_path), "--secrets", "--namespace", "elsewhere")
    secrets = {each["metadata"]["name"]: each for each in yaml.safe_load_all(ran.out)}
    assert set(secrets) == {f"godel-{service}-tls" for service in SERVICES}
    for service in SERVICES:
        secret = secrets[f"godel-{service}-tls"]
        assert secret["metadata"]["namespace"] == "elsewhere"
        assert secret["type"] == "kubernetes.io/tls"
        for name, text in secret["data"].items():
            assert b64decode(text) == (tmp_path / service / name).read_bytes()
        assert set(secret["data"]) == {"tls.crt", "tls.key", "ca.crt"}


@pytest.mark.parametrize(
    ("file", "content", "want"),
    [
        ("ca.key", None, "ca.key is missing"),
        ("ca.crt", None, "ca.crt is missing"),
        ("ca.key", "garbled", "cannot be read"),
        ("ca.crt", "garbled", "cannot be read"),
    ],
)
def test_an_authority_that_cannot_sign_is_named_and_kept(
    file: str, content: str | None, want: str, godel: Godel, tmp_path: Path
) -> None:
    godel("certs", str(tmp_path))
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    before = certificate(tmp_path / "binder")
    ran = godel("certs", str(tmp_path))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert want in ran.err
    assert certificate(tmp_path / "binder") == before


def test_a_directory_that_cannot_be_made_is_one_line(godel: Godel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = godel("certs", str(tmp_path / "file" / "c"))
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "Not a directory" in ran.err


def test_without_cryptography_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from runtime.cli.main import run\n"
        f"sys.exit(run(['certs', {str(tmp_path / 'c')!r}]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "needs the package cryptography: install godel-scheduler[certs]" in ran.stderr
    assert not (tmp_path / "c").exists()
