from __future__ import annotations

import pytest
import trustme

from sipproto_client import FlowSettings, TlsSettings, parse_host_mapping


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def trusting(ca_file: str) -> FlowSettings:
    """sip.test is on this machine, and its authority is trusted."""
    return FlowSettings(tls=TlsSettings(ca_file=ca_file), hosts=(parse_host_mapping("sip.test=127.0.0.1"),))
