#!/bin/sh
# Make each secret of the compose file that is not there yet: random, in a volume, never in a file of the project.
# A volume is mounted only where its secrets are needed, and each file is for its owner alone.
set -eu
umask 077
project=$PWD

make_secret() { # FILE BYTES: base64 as URLs and Fernet take it
  [ -s "$1" ] || { head -c "$2" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_' >"$1.part" && mv "$1.part" "$1"; }
}

cd "${1:-/secrets}"
make_secret jupyter/token 24
make_secret postgres/password 24
make_secret airflow/fernet_key 32
make_secret airflow/jwt_secret 64
make_secret airflow/api_secret_key 32
make_secret airflow/password 24
make_secret dashboard/password 24
# pragma: allowlist nextline secret - the password is put in here
printf 'postgresql+psycopg2://airflow:%s@postgres:5432/airflow' "$(cat postgres/password)" >airflow/sql_alchemy_conn
chmod 644 postgres/password # another user runs PostgreSQL; nobody else has the volume
# pragma: allowlist nextline secret - the password is put in here
printf '{"operator": "%s"}\n' "$(cat airflow/password)" >airflow/passwords.json
users=$PWD/dashboard/users.json
[ -s "$users" ] || (cd "$project" && SHOPLAKE_DASHBOARD__USERS_FILE=$users \
  python utils/dashboard_user.py set operator --role admin <"${users%/*}/password" >/dev/null)
