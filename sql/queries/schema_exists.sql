-- name: schema_exists
select to_regnamespace(quote_ident(%(schema)s::text)) is not null
