#!/bin/sh
# Runs once, when the database cluster is made: one role that owns one database and is nothing else, TLS or nothing.
set -eu
password=$(cat /run/secrets/db-oust)
psql -v ON_ERROR_STOP=1 -v password="$password" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE oust LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 200;
CREATE DATABASE oust OWNER oust ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE oust FROM PUBLIC;
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
SQL
cat > "$PGDATA/pg_hba.conf" <<'HBA'
# type  database  user      address    method
local   all       postgres             trust
hostssl oust      oust      all        scram-sha-256
HBA
