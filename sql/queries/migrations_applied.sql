-- name: migrations_applied
select applied.version, applied.name, applied.checksum
from pipespan_migrations as applied
order by applied.version
