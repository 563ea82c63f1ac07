#!/usr/bin/env bash
# Passes the password to PostgreSQL's first start, then runs the image's own entry point.
#
# Only root can read the file: this script still runs as root, the server does not.
set -euo pipefail

POSTGRES_PASSWORD=$(<"$SECRETS/postgres_password")
export POSTGRES_PASSWORD

exec docker-entrypoint.sh "$@"
