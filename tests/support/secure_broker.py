"""A real broker that speaks TLS only, wants a login by SCRAM and lets accounts do what kafka/acls.yaml says."""

import base64
import ipaddress
import json
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shoplake import embedded_broker
from shoplake.processes import HOST, find_free_port
from shoplake.settings import PROJECT_ROOT

TOPIC = "ecommerce_events"
ADMIN = "admin"
ACCOUNTS: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "kafka" / "acls.yaml").read_text())


@dataclass(frozen=True)
class SecureBroker:
    """Where it listens, whom it knows, and by which certificate it is known."""

    address: str
    ca_file: Path
    passwords: dict[str, str]

    def environment(self, account: str) -> dict[str, str]:
        """Give the settings with which an account logs in."""
        return {
            "SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": self.address, "SHOPLAKE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "SHOPLAKE_KAFKA__SASL_USERNAME": account, "SHOPLAKE_KAFKA__SASL_PASSWORD": self.passwords[account],
            "SHOPLAKE_KAFKA__CA_FILE": str(self.ca_file), "SHOPLAKE_KAFKA__DELIVERY_TIMEOUT": "20",
        }


def make_certificates(folder: Path, host: str = HOST) -> tuple[Path, Path]:
    """Make an authority and a broker's certificate for `host`; give the authority's file and the broker's key store."""
    authority_key, broker_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, broker_name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("a test's authority", "broker"))

    def sign(name: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(authority_name).public_key(
            key.public_key()).serial_number(x509.random_serial_number()).not_valid_before(
            now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1)).add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        if not is_authority:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    authority = sign(authority_name, authority_key, is_authority=True).public_bytes(pem)
    ca_file, key_store = folder / "authority.pem", folder / "broker.pem"
    ca_file.write_bytes(authority)
    key_store.write_bytes(
        broker_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + sign(broker_name, broker_key, is_authority=False).public_bytes(pem) + authority)
    return ca_file, key_store


@contextmanager
def run_secure_broker(folder: Path, java: Path, jars: Path) -> Iterator[SecureBroker]:
    """Run it for the block, with the topic and the accounts of kafka/acls.yaml, and one that may do nothing."""
    ca_file, key_store = make_certificates(folder)
    passwords = {name: secrets.token_hex(12) for name in (ADMIN, *ACCOUNTS, "nobody")}
    port, controller = find_free_port(19093, "a test"), find_free_port(29093, "a test")
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    own = {
        "listeners": f"SASL_SSL://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"SASL_SSL://{HOST}:{port}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_SSL", "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config":
            f'{login} username="{ADMIN}" password="{passwords[ADMIN]}";',
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(key_store),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(ca_file),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:ANONYMOUS", "allow.everyone.if.no.acl.found": "false",
    }
    plain = dict(line.split("=", 1) for line in embedded_broker.render_properties(
        port, controller, folder / "log").splitlines())
    properties = folder / "server.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in {**plain, **own}.items()))
    scram = [flag for name, password in passwords.items()
             for flag in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]")]
    run = embedded_broker.broker_command(java, jars, properties)
    subprocess.run([*run[:-2], "kafka.tools.StorageTool", "format", "--cluster-id", embedded_broker.make_cluster_id(),
                    "--config", str(properties), *scram], check=True, capture_output=True)
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen(run, stdout=log, stderr=log, cwd=folder)
    broker = SecureBroker(f"{HOST}:{port}", ca_file, passwords)
    try:
        _prepare(broker)
        yield broker
    finally:
        process.terminate()
        process.wait(30)


def _prepare(broker: SecureBroker) -> None:
    """Make the topic and the accounts' rights."""
    from kafka.admin import (
        ACL,
        ACLOperation,
        ACLPermissionType,
        ACLResourcePatternType,
        KafkaAdminClient,
        NewTopic,
        ResourcePattern,
        ResourceType,
    )

    with closing(KafkaAdminClient(
            bootstrap_servers=broker.address, bootstrap_timeout_ms=60_000, **_admin_login(broker))) as admin:
        admin.create_topics([NewTopic(TOPIC, 3, 1)], timeout_ms=30_000, wait_for_metadata=True)
        rights = []
        for account, resources in ACCOUNTS.items():
            for resource, operations in resources.items():
                kind, name = resource.split("/")
                is_prefix = name.endswith("*")
                pattern = ResourcePattern(ResourceType[kind.upper()], name.rstrip("*"),
                                          ACLResourcePatternType.PREFIXED if is_prefix else
                                          ACLResourcePatternType.LITERAL)
                rights += [
                    ACL(f"User:{account}", "*", ACLOperation[operation.upper()], ACLPermissionType.ALLOW, pattern)
                    for operation in operations]
        admin.create_acls(rights)


def count_of_topic(broker: SecureBroker) -> int:
    """Count the topic's records."""
    from kafka import KafkaConsumer, TopicPartition

    with closing(KafkaConsumer(bootstrap_servers=broker.address, **_admin_login(broker))) as consumer:
        parts = [TopicPartition(TOPIC, number) for number in range(3)]
        return sum(consumer.end_offsets(parts).values())


def _admin_login(broker: SecureBroker) -> dict[str, Any]:
    return {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": ADMIN,
            "sasl_plain_password": broker.passwords[ADMIN], "ssl_cafile": str(broker.ca_file)}


@contextmanager
def listen_by_tls(key_store: Path, received: list[bytes]) -> Iterator[int]:
    """Accept connections by TLS on loopback; what comes after a handshake goes to `received`; nothing is answered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key_store)
    server = socket.create_server((HOST, 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed
                return
            with suppress(OSError):
                connection.settimeout(3)
                with context.wrap_socket(connection, server_side=True) as talk:
                    if content := talk.recv(100):
                        received.append(content)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


@contextmanager
def serve_secret(answer: Any) -> Iterator[tuple[str, list[str]]]:
    """Answer as Secret Manager does, with a secret or a status; give the address, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = base64.b64encode(json.dumps(answer).encode()).decode()
            self.send_response(answer if isinstance(answer, int) else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"name": "x", "payload": {"data": content}}).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
