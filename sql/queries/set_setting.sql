-- name: set_setting
insert into pipespan_settings as known (name, value)
values (%(name)s::text, %(value)s::text)
on conflict (name) do update set value = excluded.value, updated_at = now()
