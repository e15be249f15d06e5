-- Runs once, on an empty data directory, through psql as the superuser. Passwords come from the environment.
\set ON_ERROR_STOP on
\getenv app_user APP_USER
\getenv app_password APP_PASSWORD
\getenv operator_user OPERATOR_USER
\getenv operator_password OPERATOR_PASSWORD

CREATE ROLE :"app_user" LOGIN PASSWORD :'app_password';
CREATE ROLE :"operator_user" LOGIN PASSWORD :'operator_password';
-- Sees every session, may end those of ordinary roles, and gets in when ordinary connections are used up.
GRANT pg_monitor, pg_signal_backend, pg_use_reserved_connections TO :"operator_user";

CREATE DATABASE docuquery_ai OWNER :"app_user";
REVOKE CONNECT ON DATABASE docuquery_ai FROM PUBLIC;
GRANT CONNECT ON DATABASE docuquery_ai TO :"operator_user";

\connect docuquery_ai
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
