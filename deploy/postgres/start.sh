#!/usr/bin/env bash
# Hands the passwords to PostgreSQL's first start, then becomes the image's own entry point.
#
# The files belong to root, which this script still is and the server no longer will be.
set -euo pipefail

POSTGRES_PASSWORD=$(<"$SECRETS/postgres_password")
AUTH_DATABASE_PASSWORD=$(<"$SECRETS/auth_database_password")
CONTENT_DATABASE_PASSWORD=$(<"$SECRETS/content_database_password")
export POSTGRES_PASSWORD AUTH_DATABASE_PASSWORD CONTENT_DATABASE_PASSWORD

exec docker-entrypoint.sh "$@"
