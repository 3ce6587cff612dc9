-- Grafana's own login: it reads views and calls functions that change nothing, and no table.
\getenv password GRAFANA_DB_PASSWORD
select not exists (select from pg_roles where rolname = 'grafana') as is_new \gset
\if :is_new
create role grafana login;
\endif
alter role grafana password :'password';
grant pipespan_reader to grafana;
