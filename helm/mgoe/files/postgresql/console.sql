-- A database of the console's own, and a role that comes into no other. Run at every start; changes nothing twice.
\getenv password CONSOLE_PASSWORD
SELECT 'CREATE ROLE console' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'console') \gexec
ALTER ROLE console LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT 50 PASSWORD :'password';
SELECT 'CREATE DATABASE console OWNER console'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'console') \gexec
-- PostgreSQL lets everybody into every database.
SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', datname) FROM pg_database
  WHERE datname IN ('evidence', 'mlflow', 'console', 'postgres', 'template1') \gexec
