"""The tables of registered users that a file tells of: what they are, not what they did when."""

from shoplake.contract.columns import RATE, Column
from shoplake.contract.customers import GROUPS
from shoplake.contract.relations import Table

# A column of silver.users_dim: the column of the C2C file that it is read from, and what it says.
USER_TEXTS = {
    "country": ("country", "Country, as the file writes it"), "country_code": ("countryCode", "ISO 3166, two letters"),
    "language": ("language", "Language of the user's pages"), "gender": ("gender", "As the user told"),
    "title": ("civilityTitle", "Form of address, as the user told"),
}
USER_COUNTS = {
    "follower_count": ("socialNbFollowers", "Users who follow this one"),
    "followed_count": ("socialNbFollows", "Users whom this one follows"),
    "liked_count": ("socialProductsLiked", "Products liked"),
    "listed_count": ("productsListed", "Products offered now"),
    "sold_count": ("productsSold", "Products sold so far"),
    "wished_count": ("productsWished", "Products on the wish list"),
    "bought_count": ("productsBought", "Products bought so far"),
    "days_since_login": ("daysSinceLastLogin", "Days since the last login, when the file was made"),
    "seniority_days": ("seniority", "Days since the registration, when the file was made"),
}
USER_FLAGS = {
    "has_app": ("hasAnyApp", "Has used one of the apps"),
    "has_android_app": ("hasAndroidApp", "Has used that for Android"),
    "has_ios_app": ("hasIosApp", "Has used that for iOS"),
    "has_picture": ("hasProfilePicture", "Shows a picture"),
}
_WHOSE = (
    Column("source", "STRING", "The source's name"),
    Column("user_id", "STRING", "Who it is, as the source names its users", privacy="personal"),
)

BRONZE_USERS = Table(
    "bronze.users", "Every line of a file of users as it came, with the reasons why it was rejected, if it was",
    "line: origin, offset", ("origin", "offset"),
    (Column("origin", "STRING", "The SHA-256 of the file"), Column("source", "STRING", "The source's name"),
     Column("offset", "BIGINT", "The record's number in the file, from 0"),
     Column("value", "BINARY", "The line's cells by the file's own columns as JSON, or a line that cannot be "
            "read, encrypted; NULL of an erased user", nullable=True, privacy="personal"),
     Column("reasons", "ARRAY<STRING>", "Names of all rules that it failed; without any it is in silver.users_dim, as "
            "long as its file is the source's newest"),
     Column("kept_at", "TIMESTAMP", "When the file came, UTC"),
     Column("data_key_id", "STRING", "The data key with which the value is encrypted (AES-256-GCM, bound to origin and "
            "offset): the user's, or the day's where the line does not tell one; erased: it was taken out; NULL: it is "
            "in the clear", nullable=True)),
    writer="spark/batch_processing.py", inputs=("files of users",),
)
USERS_DIM = Table(
    "silver.users_dim", "The users of each source, as its newest file tells of them", "user: source, user_id",
    ("source", "user_id"),
    (*_WHOSE,
     *(Column(name, "STRING", f"{text}; NULL if not told", nullable=True, privacy="personal")
       for name, (_, text) in USER_TEXTS.items()),
     *(Column(name, "BIGINT", text) for name, (_, text) in USER_COUNTS.items()),
     Column("pass_rate", RATE, "Share of the products sold that met their description, percent, to 6 decimals"),
     *(Column(name, "BOOLEAN", text) for name, (_, text) in USER_FLAGS.items()),
     Column("as_of_date", "DATE", "UTC date on which the file came"),
     Column("origin", "STRING", "The SHA-256 of the file")),
    cluster_by=("user_id",), served=True,
    writer="spark/batch_processing.py", inputs=("bronze.users",),
)
USER_SEGMENTS = Table(
    "gold.user_segments", "The group of alike users that each user of a source belonged to by its file",
    "as_of_date, source, user_id", ("as_of_date", "source", "user_id"),
    (Column("as_of_date", "DATE", "The day of silver.users_dim that it was made of"), *_WHOSE,
     Column("segment", "STRING", "champions, loyal, promising, at_risk, hibernating or lost: K-means by "
            "days_since_login, products bought and sold, and products listed, wished and liked; NULL with fewer than "
            "50 users", nullable=True),
     *GROUPS, Column("origin", "STRING", "The SHA-256 of the file")),
    partition_by="as_of_date", cluster_by=("segment", "user_id"), served=True,
    writer="spark/batch_processing.py", inputs=("silver.users_dim",),
)
