-- name: get_setting
select setting.value from pipespan_settings as setting where setting.name = %(name)s::text
