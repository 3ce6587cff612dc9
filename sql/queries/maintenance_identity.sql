-- name: maintenance_identity
select current_database()::text, current_setting('server_version'), now()
