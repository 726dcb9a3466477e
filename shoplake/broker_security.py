"""How to log in at a broker: the options of each client, from kafka.security_protocol and what goes with it."""

from typing import Any

from shoplake.errors import ConfigError
from shoplake.settings import Settings

PASSWORD_VARIABLE = "SHOPLAKE_KAFKA__SASL_PASSWORD"  # noqa: S105 - a variable's name
_LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def client_security(settings: Settings) -> dict[str, Any]:
    """Give the options of kafka-python's clients; none for a broker without TLS.

    The broker's certificate is always checked, its name too.

    Raises:
        ConfigError: user or password is missing.
    """
    kafka = settings.kafka
    if kafka.security_protocol == "PLAINTEXT":
        return {}
    return {
        "security_protocol": kafka.security_protocol, "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username, "sasl_plain_password": _password(settings),
        "ssl_cafile": kafka.ca_file or None, "ssl_check_hostname": True,
    }


def spark_security(settings: Settings) -> dict[str, str]:
    """Give the same as options of Spark's Kafka source.

    Raises:
        ConfigError: user or password is missing.
    """
    kafka = settings.kafka
    if kafka.security_protocol == "PLAINTEXT":
        return {}
    user, password = (text.replace("\\", "\\\\").replace('"', '\\"') for text in (
        kafka.sasl_username, _password(settings)))
    trusted = {"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": kafka.ca_file}
    return {
        "kafka.security.protocol": kafka.security_protocol, "kafka.sasl.mechanism": kafka.sasl_mechanism,
        "kafka.sasl.jaas.config":
            f'{_LOGIN_MODULES[kafka.sasl_mechanism]} required username="{user}" password="{password}";',
        **(trusted if kafka.ca_file else {}),
    }


def _password(settings: Settings) -> str:
    password = settings.kafka.sasl_password.get_secret_value()
    if not (settings.kafka.sasl_username and password):
        raise ConfigError(f"kafka.security_protocol of the profile {settings.profile} is "
                          f"{settings.kafka.security_protocol}, and that wants kafka.sasl_username and, from the "
                          f"secret store, {PASSWORD_VARIABLE}")
    return password
