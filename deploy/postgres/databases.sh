#!/usr/bin/env bash
# Creates the role and the database of each service whose password is among the secrets, closed to the others.
#
# It runs at each start, so that a service that is new gets its own in a volume that exists already. What exists is left
# as it is.
set -euo pipefail

PGPASSWORD=$(<"$SECRETS/postgres_password")
export PGPASSWORD
for file in "$SECRETS"/*_database_password; do
  DATABASE=kpi_$(basename "$file" _database_password)
  DATABASE_PASSWORD=$(<"$file")
  export DATABASE DATABASE_PASSWORD
  psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -h postgres -U postgres -d postgres <<'SQL'
\getenv name DATABASE
\getenv password DATABASE_PASSWORD
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', :'name', :'password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE CONNECT ON DATABASE :"name", postgres, template1 FROM PUBLIC;
SQL
done
