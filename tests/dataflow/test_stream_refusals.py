"""What the stream says when it cannot or must not run; it writes nothing then."""

from pathlib import Path
from typing import Any

import pytest

from shoplake.lake.ledger import count_rows
from shoplake.lake.locks import hold_lock

STREAM = "spark/streaming_pipeline.py"


def test_a_second_driver_is_refused_at_once_and_names_the_holder(
    shells: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hold_lock(shells.lake, "checkpoint-events", timeout=0):
        assert shells.run(STREAM, "--stop-after", "20") == 1  # were it not refused, it would end all the same
        assert "held by process" in capsys.readouterr().err
        # nothing is on the topic, so a drain beside the driver has nothing to wait for
        shells.ok(STREAM, "--drain")
        shells.ok("kafka/producer.py", "--events", "100", "--from", "2026-06-01", "--to", "2026-06-01", "--seed", "1")
        monkeypatch.setenv("SHOPLAKE_SPARK__DRAIN_TIMEOUT", "1")
        assert shells.run(STREAM, "--drain") == 1
        assert "still missing by partition" in capsys.readouterr().err
    assert count_rows(shells.lake)["batches"] == 0


def test_a_drain_of_a_drained_topic_does_nothing(shells: Any) -> None:
    shells.ok("kafka/producer.py", "--events", "100", "--from", "2026-06-01", "--to", "2026-06-01", "--seed", "1")
    shells.ok(STREAM, "--drain")
    assert count_rows(shells.lake)["offsets"] == 100
    shells.ok(STREAM, "--drain")
    assert count_rows(shells.lake)["offsets"] == 100, "an empty rest of the topic is no error"


def test_a_wrong_topic_is_named_with_those_that_exist(
    shells: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", "nosuch")
    assert shells.run(STREAM, "--drain") == 1
    error = capsys.readouterr().err
    assert "no topic 'nosuch'" in error
    assert shells.topic in error


# What is asked of the bucket first differs: locks by Google's client, tables by delta-rs.
SHELLS = (STREAM, "spark/batch_processing.py", "utils/reconcile.py", "ml/train.py", "utils/ingest_landing.py")


@pytest.mark.parametrize(("root", "code", "message"), [
    ("gs://denied-to-all/lake", 2, "does not have storage.objects"),
    ("gs://no-such-bucket/lake", 2, "bucket gs://no-such-bucket of"),
    ("s3://bucket/lake", 2, "gs://bucket/prefix"),
])
def test_a_bucket_that_cannot_be_used_is_one_message_before_anything_is_touched(
    root: str, code: int, message: str, shells: Any, bucket: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", root)
    monkeypatch.setenv("SHOPLAKE_GCP__BUCKET_NAME", "")
    check_refusals(shells, code, message, capsys, tmp_path, monkeypatch)


def test_a_storage_that_does_not_answer_is_one_message(
    shells: Any, bucket: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setenv("SHOPLAKE_GCP__STORAGE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("SHOPLAKE_GCP__STORAGE_TIMEOUT", "1")
    check_refusals(shells, 1, "http://127.0.0.1:9 does not answer", capsys, tmp_path, monkeypatch)


def check_refusals(
    shells: Any, code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for shell in SHELLS:
        assert shells.run(shell) == code, shell
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, shell
        assert message in errors[0], shell
    assert not (tmp_path / "gs:").exists()
