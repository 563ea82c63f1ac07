#!/usr/bin/env bash
# Passes the passwords to PostgreSQL's first start, then runs the image's own entry point.
#
# Only root can read the files: this script still runs as root, the server does not.
set -euo pipefail

POSTGRES_PASSWORD=$(<"$SECRETS/postgres_password")
AUTH_DATABASE_PASSWORD=$(<"$SECRETS/auth_database_password")
CONTENT_DATABASE_PASSWORD=$(<"$SECRETS/content_database_password")
export POSTGRES_PASSWORD AUTH_DATABASE_PASSWORD CONTENT_DATABASE_PASSWORD

exec docker-entrypoint.sh "$@"
