"""Encrypt a batch's payloads, each with its user's data key, and put pseudonyms in the place of users; and back.

Spark does the work on the records; Python makes and looks up the keys of the users that a batch has.
"""

from collections.abc import Callable

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shoplake.contract.events import MAX_TEXT_LENGTH
from shoplake.lake.data_keys import DAY, HEADER, KEY, OUTSIDE, THE_OWNER, VALUE, DataKeys, open_rows
from shoplake.lake.replay import REPLAY_OF

IS_ERASED = "is_erased"
_KEYS = pa.schema([("owner", pa.string()), ("data_key_id", pa.string()), ("data_key", pa.binary()),
                   ("pseudonym", pa.string()), ("digest_key", pa.binary())])
_IS_DIGEST = "^[0-9a-f]{64}$"


def seal(judged: DataFrame, data_keys: DataKeys | None) -> DataFrame:
    """Encrypt `key`, `value` and headers, and make `user_id` the pseudonym; add `data_key_id` and `is_erased`.

    A record that tells one user for certain is encrypted with that user's data key, any other one with the key of its
    ingest date. Nothing is left of the payload where the key was destroyed. `content_hash`, and an `event_id` that is a
    SHA-256 of what the record says, become digests with a key: they are made of the user's id, too, which could be
    found by trying.

    Args:
        judged: from `judge_events`; read here once, so persist it. A column `is_erased` tells of records that were
            found erased already.
        data_keys: None leaves everything in the clear.
    """
    was_erased = F.col(IS_ERASED) if IS_ERASED in judged.columns else F.lit(False)
    if data_keys is None:
        return judged.withColumns({"data_key_id": F.lit(None).cast("string"), IS_ERASED: was_erased})
    owned = judged.withColumn("owner", F.when(_tells_one_user(), F.col("user_id")).otherwise(
        F.concat(F.lit(DAY), F.col("ingest_date").cast("string"))))
    keys = _make_keys(owned.select("owner").distinct().toArrow()["owner"].to_pylist(), data_keys)
    sealed = owned.join(F.broadcast(judged.sparkSession.createDataFrame(keys)), "owner", "left")
    is_the_user = F.col("key") == F.col("owner").cast("binary")
    is_erased = was_erased | F.col("data_key").isNull()
    return sealed.select(
        *(name for name in judged.columns
          if name not in (KEY, VALUE, "headers", "user_id", "event_id", "content_hash", IS_ERASED)),
        # The user's id is the key of nearly all records: encrypting each would take as long as its value.
        F.when(~is_erased, F.when(is_the_user, F.lit(THE_OWNER)).otherwise(_encrypted(F.col(KEY), KEY))).alias(KEY),
        F.when(~is_erased, _encrypted(F.col(VALUE), VALUE)).alias(VALUE),
        _change_headers(_encrypted, is_erased).alias("headers"),
        F.col("pseudonym").alias("user_id"),
        F.when(F.col("event_id").rlike(_IS_DIGEST), _keyed("event_id")).otherwise(F.col("event_id")).alias("event_id"),
        _keyed("content_hash").alias("content_hash"),
        F.when(was_erased, F.lit(OUTSIDE)).otherwise(F.col("data_key_id")).alias("data_key_id"),
        is_erased.alias(IS_ERASED))


def unseal(rows: DataFrame, data_keys: DataKeys | None) -> DataFrame:
    """Give `partition, offset, key, value, headers, timestamp` of rows of bronze.events as they came, and `is_erased`.

    `is_erased` tells where the key was destroyed, or the payload taken out.

    Args:
        rows: read here once more.

    Raises:
        ConfigError: rows are encrypted and `data_keys` is None, or has not the key of one.
    """
    used = rows.select("data_key_id").distinct().toArrow()["data_key_id"].drop_null().to_pylist()
    opener = open_rows(data_keys, used)
    keys = pa.table({"data_key_id": pa.array(opener.keys, pa.string()),
                     "data_key": pa.array([one.key for one in opener.keys.values()], pa.binary()),
                     "owner": pa.array([opener.owners.get(name) for name in opener.keys], pa.string())})
    joined = rows.join(F.broadcast(rows.sparkSession.createDataFrame(keys)), "data_key_id", "left")
    is_clear = F.col("data_key_id").isNull()
    is_erased = ~is_clear & F.col("data_key").isNull()
    key = F.when(F.col(KEY) == F.lit(THE_OWNER), F.col("owner").cast("binary")).otherwise(_decrypted(F.col(KEY), KEY))
    headers = _change_headers(_decrypted, is_erased)
    return joined.select(
        "partition", "offset", F.when(is_clear, F.col(KEY)).otherwise(key).alias(KEY),
        F.when(is_clear, F.col(VALUE)).otherwise(_decrypted(F.col(VALUE), VALUE)).alias(VALUE),
        F.when(is_clear, F.col("headers")).otherwise(headers).alias("headers"), "timestamp", is_erased.alias(IS_ERASED))


def _tells_one_user() -> Column:
    user = F.col("user_id")
    is_sound = F.col("is_json") & F.col("is_scalar") & F.col("is_text_clean")
    return is_sound & F.length(user).between(1, MAX_TEXT_LENGTH)


def _make_keys(owners: list[str], data_keys: DataKeys) -> pa.Table:
    keys = data_keys.find_or_make(owners)
    return pa.Table.from_pydict({
        "owner": owners, "data_key_id": [keys[owner].data_key_id for owner in owners],
        "data_key": [keys[owner].key for owner in owners],
        "pseudonym": [None if owner.startswith(DAY) else data_keys.pseudonym(owner) for owner in owners],
        "digest_key": [data_keys.digest_key()] * len(owners),
    }, schema=_KEYS)


def _keyed(digest: str) -> Column:
    """Give SHA-256 over the key and a digest: both have one length, so nobody can go on from one to another."""
    return F.sha2(F.concat(F.col("digest_key"), F.col(digest).cast("binary")), 256)


def _change_headers(change: Callable[[Column, str], Column], is_erased: Column) -> Column:
    """Give the headers with other values; whose row is erased keeps only what tells that it is a copy."""
    def is_mark(header: Column) -> Column:
        return header["key"] == REPLAY_OF

    def changed(header: Column) -> Column:
        value = F.when(is_mark(header), header["value"]).otherwise(change(header["value"], HEADER))
        return F.struct(header["key"].alias("key"), value.alias("value"))

    headers = F.col("headers")
    return F.when(F.size(headers) <= 0, headers).when(is_erased, F.filter(headers, is_mark)).otherwise(
        F.transform(headers, changed))


def _encrypted(content: Column, part: str) -> Column:
    return F.aes_encrypt(content, F.col("data_key"), F.lit("GCM"), F.lit("DEFAULT"), F.lit(b""), _place(part))


def _decrypted(sealed: Column, part: str) -> Column:
    return F.aes_decrypt(sealed, F.col("data_key"), F.lit("GCM"), F.lit("DEFAULT"), _place(part))


def _place(part: str) -> Column:
    """What the ciphertext is bound to, so that nobody can put it in the place of another one."""
    return F.concat_ws("/", "origin", "partition", "offset", F.lit(part)).cast("binary")
