#!/usr/bin/env bash
# Runs once, when the data directory is new: creates one role and one database for each service, closed to the others.
set -euo pipefail

psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres <<'SQL'
\getenv auth_password AUTH_DATABASE_PASSWORD
\getenv content_password CONTENT_DATABASE_PASSWORD
CREATE ROLE kpi_auth LOGIN PASSWORD :'auth_password';
CREATE ROLE kpi_content LOGIN PASSWORD :'content_password';
CREATE DATABASE kpi_auth OWNER kpi_auth;
CREATE DATABASE kpi_content OWNER kpi_content;
REVOKE CONNECT ON DATABASE kpi_auth, kpi_content, postgres, template1 FROM PUBLIC;
SQL
