-- name: migrations_record
insert into pipespan_migrations (version, name, checksum)
values (%(version)s, %(name)s, %(checksum)s)
