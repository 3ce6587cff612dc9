-- name: set_setting
insert into pipespan_settings as known (key, value)
values (%(key)s::text, %(value)s::text::jsonb)
on conflict (key) do update set value = excluded.value
