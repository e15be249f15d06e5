-- Runs once, on an empty data directory, through psql as the superuser. Passwords come from the environment.
\set ON_ERROR_STOP on
\getenv app_user APP_USER
\getenv app_password APP_PASSWORD
\getenv operator_user OPERATOR_USER
\getenv operator_password OPERATOR_PASSWORD
\getenv backup_user BACKUP_USER
\getenv backup_password BACKUP_PASSWORD
\getenv restore_user RESTORE_USER
\getenv restore_password RESTORE_PASSWORD
\getenv maintenance_user MAINTENANCE_USER
\getenv maintenance_password MAINTENANCE_PASSWORD

CREATE ROLE :"app_user" LOGIN PASSWORD :'app_password';
CREATE ROLE :"operator_user" LOGIN PASSWORD :'operator_password';
-- Sees every session, may end those of ordinary roles, and gets in when ordinary connections are used up.
GRANT pg_monitor, pg_signal_backend, pg_use_reserved_connections TO :"operator_user";
-- Reads everything, changes nothing.
CREATE ROLE :"backup_user" LOGIN PASSWORD :'backup_password';
GRANT pg_read_all_data TO :"backup_user";
-- Makes a copy beside the live database, gives it to the application's role, ends sessions for the exchange of names.
CREATE ROLE :"restore_user" LOGIN CREATEDB PASSWORD :'restore_password';
GRANT :"app_user", pg_signal_backend TO :"restore_user";

CREATE DATABASE docuquery_ai OWNER :"app_user";
REVOKE CONNECT ON DATABASE docuquery_ai FROM PUBLIC;
GRANT CONNECT ON DATABASE docuquery_ai TO :"operator_user", :"backup_user";
-- Vacuums, analyzes and rebuilds indexes. Before PostgreSQL 17, which has pg_maintain for it, only owners of tables may.
\if :{?maintenance_user}
CREATE ROLE :"maintenance_user" LOGIN PASSWORD :'maintenance_password';
GRANT :"app_user", pg_monitor TO :"maintenance_user";
\endif

\connect docuquery_ai
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
