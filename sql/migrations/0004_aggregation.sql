-- supersedes: 56d21d674620797e4edb96ac72e478631defdf9a00ab48ee94a7642d6ac0a3f6
-- Parents follow their children at speed, and tell what was truly reached; the writer's statements become functions,
-- whose plans a session keeps.
--
-- The order in which locks are taken, by everybody, so that nobody waits in a ring:
--   1. the structure lock of each experiment concerned: shared by those who only change rows of leaves, exclusive for
--      those who may add, remove or move nodes;
--   2. rows of experiments, by id; rows of jobs, by id;
--   3. rows of nodes that a writer brings itself;
--   4. the lock of the ancestors: whoever has it changes parents, and waits for nobody.
-- Statements made by hand come to 1 after 3: their sums are exact too, only a deadlock is possible.

-- ---------------------------------------------------------------- what a node has done

-- What a node shows, in parts per billion. What failed or was cancelled shows what its children truly reached; a node
-- that still runs counts them as done with, so that a failed one does not hold it below 100 %.
create function pipespan_shown_ppb_v1(
    p_status text,
    p_completed bigint,
    p_total bigint,
    p_child_sum numeric,
    p_child_reached numeric,
    p_child_weight numeric
) returns numeric
language sql immutable parallel safe
as $$
    select case
        when p_status = 'completed' then 1000000000::numeric
        -- the first is the quick one; the other holds for any number of units
        when p_total between 1 and 9000000000
            then (least(greatest(p_completed, 0), p_total) * 1000000000 / p_total)::numeric
        when p_total > 0 then div(least(greatest(p_completed, 0), p_total)::numeric * 1000000000, p_total::numeric)
        when p_child_weight > 0
            then div(case when p_status in ('failed', 'cancelled') then p_child_reached else p_child_sum end, p_child_weight)
        else 0::numeric
    end
$$;

-- What a node has truly reached, whether it goes on or not.
create function pipespan_reached_ppb_v1(
    p_status text, p_completed bigint, p_total bigint, p_child_reached numeric, p_child_weight numeric
) returns numeric
language sql immutable parallel safe
as $$
    select case
        when p_status = 'completed' then 1000000000::numeric
        when p_total between 1 and 9000000000
            then (least(greatest(p_completed, 0), p_total) * 1000000000 / p_total)::numeric
        when p_total > 0 then div(least(greatest(p_completed, 0), p_total)::numeric * 1000000000, p_total::numeric)
        when p_child_weight > 0 then div(p_child_reached, p_child_weight)
        else 0::numeric
    end
$$;

alter table pipeline_progress add column child_reached numeric not null default 0;
alter table pipeline_progress drop column progress_percent;
-- The body of pipespan_shown_ppb_v1 and no call of it: a call would be parsed anew for every statement that writes.
alter table pipeline_progress
    add column progress_percent numeric not null generated always as (
        case
            when status = 'completed' then 1000000000::numeric
            when total_units between 1 and 9000000000
                then (least(greatest(completed_units, 0), total_units) * 1000000000 / total_units)::numeric
            when total_units > 0
                then div(least(greatest(completed_units, 0), total_units)::numeric * 1000000000, total_units::numeric)
            when child_weight > 0
                then div(case when status in ('failed', 'cancelled') then child_reached else child_sum end, child_weight)
            else 0::numeric
        end * 0.0000001
    ) stored;

comment on column pipeline_progress.progress_percent is
    '0 to 100: from the node''s own units when it has a total, else from its children.';
comment on column pipeline_progress.child_reached is
    'As child_sum, but a failed or cancelled child counts only what it truly reached.';

-- ---------------------------------------------------------------- locks

create function pipespan_structure_key_v1(p_experiment_id uuid) returns bigint
language sql immutable parallel safe
as $$ select hashtextextended(p_experiment_id::text, 7031) $$;

create function pipespan_ancestors_key_v1(p_experiment_id uuid) returns bigint
language sql immutable parallel safe
as $$ select hashtextextended(p_experiment_id::text, 7032) $$;

-- ---------------------------------------------------------------- the trigger

-- Keeps child_weight, child_sum and child_reached of parents equal to the sums over their children.
--
-- Works on differences, level by level, so the cost follows what changed and not how many children a parent has.
-- What a parent counted before is computed back from the row that the update returns and never from an older
-- snapshot: so differences stay exact with many writers. A parent that comes after its children sums them up once:
-- for this the structure lock keeps all others out.
--
-- The planner knows little about transition tables, and its plans outlive the growth of the table: hence the
-- settings. `pipespan.rolling_up` keeps the updates made here from firing the trigger again.
create or replace function update_parent_progress() returns trigger
language plpgsql
set search_path from current
set enable_seqscan to off
set enable_hashjoin to off
set enable_mergejoin to off
set plan_cache_mode to force_generic_plan
as $$
declare
    v_experiments uuid[];
    v_parents text[];
    v_weights numeric[];
    v_sums numeric[];
    v_reached numeric[];
    v_is_moved boolean := false;
    v_key bigint;
    v_rounds integer := 0;
begin
    if tg_op = 'UPDATE' then
        select
            array_agg(delta.experiment_id), array_agg(delta.parent_id), array_agg(delta.weight),
            array_agg(delta.total), array_agg(delta.reached), bool_or(delta.moved <> 0)
        into v_experiments, v_parents, v_weights, v_sums, v_reached, v_is_moved
        from (
            select
                part.experiment_id, part.parent_id,
                sum(part.weight) as weight,
                sum(part.weight * part.settled_ppb) as total,
                sum(part.weight * part.reached_ppb) as reached,
                sum(part.side) as moved
            from (
                select
                    node.side, node.experiment_id, node.parent_id,
                    node.side * pipespan_thousandths_v1(node.weight) as weight,
                    case
                        when node.status in ('completed', 'failed', 'cancelled') then 1000000000::numeric
                        else pipespan_shown_ppb_v1(
                            node.status, node.completed_units, node.total_units,
                            node.child_sum, node.child_reached, node.child_weight
                        )
                    end as settled_ppb,
                    pipespan_reached_ppb_v1(
                        node.status, node.completed_units, node.total_units, node.child_reached, node.child_weight
                    ) as reached_ppb
                from (
                    select 1 as side, new_node.* from new_nodes as new_node
                    union all
                    select -1, old_node.* from old_nodes as old_node
                ) as node
                where node.parent_id is not null and node.parent_id <> node.node_id
            ) as part
            group by part.experiment_id, part.parent_id
        ) as delta
        where delta.weight <> 0 or delta.total <> 0 or delta.reached <> 0 or delta.moved <> 0;
        if v_parents is null then
            return null;
        end if;
        for v_key in
            select distinct pipespan_structure_key_v1(id) from unnest(v_experiments) as touched (id) order by 1
        loop
            if v_is_moved then
                perform pg_advisory_xact_lock(v_key);
            else
                perform pg_advisory_xact_lock_shared(v_key);
            end if;
        end loop;
    elsif tg_op = 'INSERT' then
        if not exists (select from new_nodes) then
            return null;
        end if;
        for v_key in
            select distinct pipespan_structure_key_v1(node.experiment_id) from new_nodes as node order by 1
        loop
            perform pg_advisory_xact_lock(v_key);
        end loop;
        select
            array_agg(delta.experiment_id), array_agg(delta.parent_id), array_agg(delta.weight),
            array_agg(delta.total), array_agg(delta.reached)
        into v_experiments, v_parents, v_weights, v_sums, v_reached
        from (
            -- known parents of new nodes
            select
                node.experiment_id,
                node.parent_id,
                sum(node.thousandths) as weight,
                sum(node.thousandths * node.settled_ppb) as total,
                sum(node.thousandths * node.reached_ppb) as reached
            from (
                select
                    new_node.experiment_id, new_node.parent_id,
                    pipespan_thousandths_v1(new_node.weight) as thousandths,
                    case
                        when new_node.status in ('completed', 'failed', 'cancelled') then 1000000000::numeric
                        else pipespan_shown_ppb_v1(
                            new_node.status, new_node.completed_units, new_node.total_units,
                            new_node.child_sum, new_node.child_reached, new_node.child_weight
                        )
                    end as settled_ppb,
                    pipespan_reached_ppb_v1(
                        new_node.status, new_node.completed_units, new_node.total_units,
                        new_node.child_reached, new_node.child_weight
                    ) as reached_ppb
                from new_nodes as new_node
                where
                    new_node.parent_id is not null
                    and new_node.parent_id <> new_node.node_id
                    and (new_node.experiment_id, new_node.parent_id::text) not in (
                        select other.experiment_id, other.node_id::text from new_nodes as other
                    )
            ) as node
            group by node.experiment_id, node.parent_id
            union all
            -- new nodes whose children are known, or come with them, or left in the same statement: the trigger
            -- for updates runs first, and has applied their differences to a parent that had no sums yet
            select
                parent.experiment_id,
                parent.node_id,
                coalesce(sum(child.thousandths), 0) - max(parent.child_weight),
                coalesce(sum(child.thousandths * child.settled_ppb), 0) - max(parent.child_sum),
                coalesce(sum(child.thousandths * child.reached_ppb), 0) - max(parent.child_reached)
            from new_nodes as node
            join pipeline_progress as parent on parent.id = node.id
            left join lateral (
                select
                    pipespan_thousandths_v1(known.weight) as thousandths,
                    case
                        when known.status in ('completed', 'failed', 'cancelled') then 1000000000::numeric
                        else pipespan_shown_ppb_v1(
                            known.status, known.completed_units, known.total_units,
                            known.child_sum, known.child_reached, known.child_weight
                        )
                    end as settled_ppb,
                    pipespan_reached_ppb_v1(
                        known.status, known.completed_units, known.total_units,
                        known.child_reached, known.child_weight
                    ) as reached_ppb
                from pipeline_progress as known
                where
                    known.experiment_id = node.experiment_id
                    and known.parent_id = node.node_id
                    and known.id <> node.id
            ) as child on true
            group by parent.experiment_id, parent.node_id
        ) as delta
        where delta.weight <> 0 or delta.total <> 0 or delta.reached <> 0;
    else
        select
            array_agg(delta.experiment_id), array_agg(delta.parent_id), array_agg(delta.weight),
            array_agg(delta.total), array_agg(delta.reached)
        into v_experiments, v_parents, v_weights, v_sums, v_reached
        from (
            select
                node.experiment_id,
                node.parent_id,
                -sum(pipespan_thousandths_v1(node.weight)) as weight,
                -sum(
                    pipespan_thousandths_v1(node.weight) * case
                        when node.status in ('completed', 'failed', 'cancelled') then 1000000000::numeric
                        else pipespan_shown_ppb_v1(
                            node.status, node.completed_units, node.total_units,
                            node.child_sum, node.child_reached, node.child_weight
                        )
                    end
                ) as total,
                -sum(
                    pipespan_thousandths_v1(node.weight) * pipespan_reached_ppb_v1(
                        node.status, node.completed_units, node.total_units, node.child_reached, node.child_weight
                    )
                ) as reached
            from old_nodes as node
            where node.parent_id is not null and node.parent_id <> node.node_id
            group by node.experiment_id, node.parent_id
        ) as delta
        -- a whole experiment that goes has no sums to keep, and must wait for no lock of ours
        where
            (delta.weight <> 0 or delta.total <> 0 or delta.reached <> 0)
            and exists (select from experiments as experiment where experiment.id = delta.experiment_id);
        for v_key in
            select distinct pipespan_structure_key_v1(id) from unnest(v_experiments) as touched (id) order by 1
        loop
            perform pg_advisory_xact_lock(v_key);
        end loop;
    end if;

    for v_key in
        select distinct pipespan_ancestors_key_v1(id) from unnest(v_experiments) as touched (id) order by 1
    loop
        perform pg_advisory_xact_lock(v_key);
    end loop;

    -- Not as a setting of the function: from Postgres 15 on only a superuser may create it with one of ours.
    perform set_config('pipespan.rolling_up', 'on', true);
    while v_parents is not null loop
        v_rounds := v_rounds + 1;
        if v_rounds % 256 = 0 then
            -- Differences would run round a cycle for very long; a tree that is really this deep goes on.
            select
                array_agg(delta.experiment_id), array_agg(delta.node_id), array_agg(delta.weight),
                array_agg(delta.total), array_agg(delta.reached)
            into v_experiments, v_parents, v_weights, v_sums, v_reached
            from unnest(v_experiments, v_parents, v_weights, v_sums, v_reached)
                as delta (experiment_id, node_id, weight, total, reached)
            where not pipespan_is_cyclic_v1(delta.experiment_id, delta.node_id);
        end if;
        with changed as (
            update pipeline_progress as parent
            set
                child_weight = parent.child_weight + delta.weight,
                child_sum = parent.child_sum + delta.total,
                child_reached = parent.child_reached + delta.reached,
                updated_at = now()
            from unnest(v_experiments, v_parents, v_weights, v_sums, v_reached)
                as delta (experiment_id, node_id, weight, total, reached)
            where parent.experiment_id = delta.experiment_id and parent.node_id = delta.node_id
            returning
                parent.experiment_id,
                parent.node_id,
                parent.parent_id,
                pipespan_thousandths_v1(parent.weight) as weight,
                case
                    when parent.status in ('completed', 'failed', 'cancelled') then 0
                    else pipespan_shown_ppb_v1(
                        parent.status, parent.completed_units, parent.total_units,
                        parent.child_sum, parent.child_reached, parent.child_weight
                    ) - pipespan_shown_ppb_v1(
                        parent.status, parent.completed_units, parent.total_units,
                        parent.child_sum - delta.total,
                        parent.child_reached - delta.reached,
                        parent.child_weight - delta.weight
                    )
                end as risen_ppb,
                pipespan_reached_ppb_v1(
                    parent.status, parent.completed_units, parent.total_units,
                    parent.child_reached, parent.child_weight
                ) - pipespan_reached_ppb_v1(
                    parent.status, parent.completed_units, parent.total_units,
                    parent.child_reached - delta.reached, parent.child_weight - delta.weight
                ) as reached_ppb
        ),
        risen as (
            select
                changed.experiment_id, changed.parent_id,
                sum(changed.weight * changed.risen_ppb) as total,
                sum(changed.weight * changed.reached_ppb) as reached
            from changed
            where changed.parent_id is not null and changed.parent_id <> changed.node_id
            group by changed.experiment_id, changed.parent_id
        )
        select
            array_agg(risen.experiment_id), array_agg(risen.parent_id), array_agg(0::numeric),
            array_agg(risen.total), array_agg(risen.reached)
        into v_experiments, v_parents, v_weights, v_sums, v_reached
        from risen
        where risen.total <> 0 or risen.reached <> 0;
    end loop;
    perform set_config('pipespan.rolling_up', 'off', true);
    return null;
end
$$;

-- Counts the sums of an experiment's parents anew, from the leaves up, of all experiments when none is named: the
-- remedy should they ever be wrong. Nodes in a cycle of parents stay as they are. Returns how many rows were wrong.
create function pipespan_recount_v1(p_experiment_id uuid default null) returns bigint
language plpgsql
set search_path from current
as $$
declare
    v_depth integer;
    v_changed bigint;
    v_wrong bigint := 0;
    v_id uuid;
begin
    perform set_config('pipespan.rolling_up', 'on', true);
    for v_id in
        select experiment.id from experiments as experiment
        where p_experiment_id is null or experiment.id = p_experiment_id
        order by pipespan_structure_key_v1(experiment.id)
    loop
        perform pg_advisory_xact_lock(pipespan_structure_key_v1(v_id));
        for v_depth in
            with recursive placed as (
                select node.node_id, 0 as depth
                from pipeline_progress as node
                where
                    node.experiment_id = v_id
                    and (
                        node.parent_id is null
                        or not exists (
                            select from pipeline_progress as parent
                            where parent.experiment_id = v_id and parent.node_id = node.parent_id
                        )
                    )
                union all
                select node.node_id, placed.depth + 1
                from placed
                join pipeline_progress as node on node.experiment_id = v_id and node.parent_id = placed.node_id
            )
            select distinct placed.depth from placed order by placed.depth desc
        loop
            with recursive placed as (
                select node.node_id, 0 as depth
                from pipeline_progress as node
                where
                    node.experiment_id = v_id
                    and (
                        node.parent_id is null
                        or not exists (
                            select from pipeline_progress as parent
                            where parent.experiment_id = v_id and parent.node_id = node.parent_id
                        )
                    )
                union all
                select node.node_id, placed.depth + 1
                from placed
                join pipeline_progress as node on node.experiment_id = v_id and node.parent_id = placed.node_id
                where placed.depth < v_depth
            ),
            counted as (
                select
                    placed.node_id,
                    coalesce(sum(child.thousandths), 0) as weight,
                    coalesce(sum(child.thousandths * child.settled_ppb), 0) as total,
                    coalesce(sum(child.thousandths * child.reached_ppb), 0) as reached
                from placed
                left join lateral (
                    select
                        pipespan_thousandths_v1(node.weight) as thousandths,
                        case
                            when node.status in ('completed', 'failed', 'cancelled') then 1000000000::numeric
                            else round(node.progress_percent * 10000000)
                        end as settled_ppb,
                        pipespan_reached_ppb_v1(
                            node.status, node.completed_units, node.total_units, node.child_reached, node.child_weight
                        ) as reached_ppb
                    from pipeline_progress as node
                    where node.experiment_id = v_id and node.parent_id = placed.node_id
                ) as child on true
                where placed.depth = v_depth
                group by placed.node_id
            )
            update pipeline_progress as parent
            set child_weight = counted.weight, child_sum = counted.total, child_reached = counted.reached
            from counted
            where
                parent.experiment_id = v_id
                and parent.node_id = counted.node_id
                and (parent.child_weight, parent.child_sum, parent.child_reached)
                    is distinct from (counted.weight, counted.total, counted.reached);
            get diagnostics v_changed = row_count;
            v_wrong := v_wrong + v_changed;
        end loop;
    end loop;
    perform set_config('pipespan.rolling_up', 'off', true);
    return v_wrong;
end
$$;

select pipespan_recount_v1();

drop function pipespan_ppb_v1(text, bigint, bigint, numeric, numeric);
drop function pipespan_settled_v1(text, numeric);

-- ---------------------------------------------------------------- the writer's statements
--
-- As functions, because a writer prepares nothing: behind a pooler each transaction may meet another session. Their
-- plans are kept by each session, and forced to go by index, since they are made while tables are small.

-- Starts the transaction of a batch: bounds of time, the ledger, and empty tables for the rows that are merged.
-- Returns null, or where the ledger stands when that is not at p_start_bytes.
--
-- The temporary tables stay with the session, and are looked for and empty each time: behind a pooler the session may
-- be one that another client has used. Emptying at each commit costs 0.3 ms a table, DELETE lets a table grow that takes
-- many rows: so the one for nodes is emptied by the commit, the others, which are rarely used, by DELETE.
create function pipespan_open_batch_v1(
    p_stream_id uuid,
    p_lane text,
    p_start_bytes bigint,
    p_end_bytes bigint,
    p_has_owners boolean,
    p_has_nodes boolean
) returns bigint
language plpgsql
set search_path from current
as $$
declare
    v_stands bigint;
begin
    if p_start_bytes = 0 then
        insert into pipespan_streams as known (stream_id, lane, shipped_bytes)
        values (p_stream_id, p_lane, p_end_bytes)
        on conflict (stream_id, lane) do update set shipped_bytes = excluded.shipped_bytes, updated_at = now()
        where known.shipped_bytes = 0;
    else
        update pipespan_streams as known
        set shipped_bytes = p_end_bytes, updated_at = now()
        where known.stream_id = p_stream_id and known.lane = p_lane and known.shipped_bytes = p_start_bytes;
    end if;
    if not found then
        select known.shipped_bytes into v_stands
        from pipespan_streams as known
        where known.stream_id = p_stream_id and known.lane = p_lane;
        return coalesce(v_stands, 0);
    end if;
    if p_has_owners and to_regclass('pg_temp.pipespan_batch_jobs_v1') is null then
        create temporary table pipespan_batch_experiments_v1 (
            seq bigint generated always as identity,
            id uuid not null,
            name text not null,
            status text not null,
            params jsonb not null,
            tags text[] not null,
            command text,
            host text,
            user_name text,
            git_commit text,
            started_at timestamptz not null,
            ended_at timestamptz,
            trace_id text,
            attempt integer not null,
            version bigint not null
        );
        create temporary table pipespan_batch_jobs_v1 (
            seq bigint generated always as identity,
            id uuid not null,
            experiment_id uuid not null,
            attempt integer not null,
            parent_job_id uuid,
            host text not null,
            boot_id text,
            pid bigint not null,
            process_started_at timestamptz,
            status text not null,
            cause text,
            exit_code bigint,
            exit_signal integer,
            evidence jsonb not null,
            command text,
            started_at timestamptz not null,
            heartbeat_at timestamptz not null,
            progress_at timestamptz not null,
            ended_at timestamptz,
            log_messages text[] not null,
            version bigint not null
        );
    elsif p_has_owners then
        delete from pipespan_batch_experiments_v1;
        delete from pipespan_batch_jobs_v1;
    end if;
    if p_has_nodes and to_regclass('pg_temp.pipespan_batch_nodes_v1') is null then
        create temporary table pipespan_batch_nodes_v1 (
            seq bigint generated always as identity,
            experiment_id uuid not null,
            node_id varchar(255) not null,
            node_level text not null,
            parent_id varchar(255),
            node_name text not null,
            status text not null,
            completed_units bigint not null,
            total_units bigint,
            unit text,
            weight double precision not null,
            message text,
            error_type text,
            start_time timestamptz,
            end_time timestamptz,
            metadata jsonb not null,
            trace_id text,
            span_id text,
            job_id uuid,
            attempt integer not null,
            version bigint not null
        ) on commit delete rows;
    end if;
    return null;
end
$$;

-- Takes the structure locks of the experiments of the batch. Shared ones do when it only brings changes of known
-- leaves: nobody else's sums change these rows, so several such batches of an experiment run side by side, up to the
-- ancestors. Returns whether they did.
create function pipespan_lock_batch_v1(p_experiment_ids uuid[], p_is_simple boolean) returns boolean
language plpgsql
set search_path from current
as $$
declare
    v_keys bigint[] := array(
        select distinct pipespan_structure_key_v1(touched.id) from unnest(p_experiment_ids) as touched (id) order by 1
    );
    v_key bigint;
begin
    if p_is_simple then
        begin
            foreach v_key in array v_keys loop
                perform pg_advisory_xact_lock_shared(v_key);
            end loop;
            if not exists (
                select
                from pipespan_batch_nodes_v1 as brought
                left join pipeline_progress as known
                    on known.experiment_id = brought.experiment_id and known.node_id = brought.node_id
                where
                    known.id is null
                    or known.child_weight <> 0
                    or known.parent_id is distinct from brought.parent_id
                    or known.weight is distinct from brought.weight
            ) then
                return true;
            end if;
            -- Lets go of the shared locks: who keeps them while asking for more may wait in a ring.
            raise exception sqlstate 'PS001';
        exception
            when sqlstate 'PS001' then null;
        end;
    end if;
    foreach v_key in array v_keys loop
        perform pg_advisory_xact_lock(v_key);
    end loop;
    return false;
end
$$;

-- Writes the rows of the temporary tables, the best of each key, by the rule of `pipespan.model.merge`, and adds to
-- the experiments' counts of errors. Sums over children are not touched: they are the trigger's.
--
-- p_has_owners says that there are rows of experiments or jobs, p_has_nodes that there are nodes; p_error_ids and
-- p_errors are pairs.
create function pipespan_merge_batch_v1(
    p_has_owners boolean, p_has_nodes boolean, p_error_ids uuid[], p_errors bigint[]
) returns void
language plpgsql
set search_path from current
set enable_seqscan to off
set enable_hashjoin to off
set enable_mergejoin to off
set plan_cache_mode to force_generic_plan
as $$
declare
    v_ids uuid[] := p_error_ids;
begin
    if p_has_nodes then
        v_ids := v_ids || array(select distinct brought.experiment_id from pipespan_batch_nodes_v1 as brought);
    end if;
    if p_has_owners then
        v_ids := v_ids || array(
            select brought.id from pipespan_batch_experiments_v1 as brought
            union
            select brought.experiment_id from pipespan_batch_jobs_v1 as brought
        );
    end if;

    if pipespan_lock_batch_v1(v_ids, p_has_nodes and not p_has_owners and cardinality(p_error_ids) = 0) then
        update pipeline_progress as known
        set
            node_level = best.node_level,
            node_name = best.node_name,
            status = best.status,
            completed_units = best.completed_units,
            total_units = best.total_units,
            unit = best.unit,
            message = best.message,
            error_type = best.error_type,
            start_time = best.start_time,
            end_time = best.end_time,
            metadata = best.metadata,
            trace_id = best.trace_id,
            span_id = best.span_id,
            job_id = best.job_id,
            attempt = best.attempt,
            version = best.version,
            updated_at = now()
        from (
            select distinct on (brought.experiment_id, brought.node_id)
                brought.*
            from pipespan_batch_nodes_v1 as brought
            order by
                brought.experiment_id, brought.node_id,
                brought.attempt desc,
                brought.status in ('completed', 'failed', 'cancelled') desc,
                brought.version desc,
                brought.seq
        ) as best
        where
            known.experiment_id = best.experiment_id
            and known.node_id = best.node_id
            and (best.attempt, best.status in ('completed', 'failed', 'cancelled'), best.version)
                > (known.attempt, known.status in ('completed', 'failed', 'cancelled'), known.version);
        return;
    end if;

    -- Rows may come before the experiment that they belong to: a stub stands for it until its owner's row arrives.
    -- Attempt 0 and version -1 lose against every other row; of a known experiment the stub only takes the lock.
    insert into experiments as known (id, name, status, started_at, attempt, version)
    select distinct missing.id, missing.id::text, 'running', now(), 0, -1
    from unnest(v_ids) as missing (id)
    order by missing.id
    on conflict (id) do update set version = known.version
    where false;

    if p_has_owners then
        insert into experiments as known (
            id, name, status, params, tags, command, host, user_name, git_commit, started_at, ended_at, trace_id,
            attempt, version
        )
        select
            best.id, best.name, best.status, best.params, best.tags, best.command, best.host, best.user_name,
            best.git_commit, best.started_at, best.ended_at, best.trace_id, best.attempt, best.version
        from (
            select distinct on (brought.id)
                brought.*
            from pipespan_batch_experiments_v1 as brought
            order by
                brought.id,
                brought.attempt desc,
                pipespan_is_terminal_v1(brought.status) desc,
                brought.version desc,
                brought.seq
        ) as best
        order by best.id
        on conflict (id) do update set
            name = excluded.name,
            status = excluded.status,
            params = excluded.params,
            tags = excluded.tags,
            command = excluded.command,
            host = excluded.host,
            user_name = excluded.user_name,
            git_commit = excluded.git_commit,
            started_at = excluded.started_at,
            ended_at = excluded.ended_at,
            trace_id = excluded.trace_id,
            attempt = excluded.attempt,
            version = excluded.version
        where
            (excluded.attempt, pipespan_is_terminal_v1(excluded.status), excluded.version)
            > (known.attempt, pipespan_is_terminal_v1(known.status), known.version);

        insert into processing_jobs as known (
            id, experiment_id, attempt, parent_job_id, host, boot_id, pid, process_started_at, status, cause,
            exit_code, exit_signal, evidence, command, started_at, heartbeat_at, progress_at, ended_at,
            log_messages, version
        )
        select
            best.id, best.experiment_id, best.attempt, best.parent_job_id, best.host, best.boot_id, best.pid,
            best.process_started_at, best.status, best.cause, best.exit_code, best.exit_signal, best.evidence,
            best.command, best.started_at, best.heartbeat_at, best.progress_at, best.ended_at, best.log_messages,
            best.version
        from (
            select distinct on (brought.id)
                brought.*
            from pipespan_batch_jobs_v1 as brought
            order by
                brought.id,
                brought.attempt desc,
                pipespan_is_terminal_v1(brought.status) desc,
                brought.version desc,
                brought.seq
        ) as best
        order by best.id
        on conflict (id) do update set
            experiment_id = excluded.experiment_id,
            attempt = excluded.attempt,
            parent_job_id = excluded.parent_job_id,
            host = excluded.host,
            boot_id = excluded.boot_id,
            pid = excluded.pid,
            process_started_at = excluded.process_started_at,
            status = excluded.status,
            cause = excluded.cause,
            exit_code = excluded.exit_code,
            exit_signal = excluded.exit_signal,
            evidence = excluded.evidence,
            command = excluded.command,
            started_at = excluded.started_at,
            heartbeat_at = excluded.heartbeat_at,
            progress_at = excluded.progress_at,
            ended_at = excluded.ended_at,
            log_messages = excluded.log_messages,
            version = excluded.version
        where
            (excluded.attempt, pipespan_is_terminal_v1(excluded.status), excluded.version)
            > (known.attempt, pipespan_is_terminal_v1(known.status), known.version);
    end if;

    if p_has_nodes then
        -- new ones in their order of arrival
        insert into pipeline_progress as known (
            experiment_id, node_id, node_level, parent_id, node_name, status, completed_units, total_units, unit,
            weight, message, error_type, start_time, end_time, metadata, trace_id, span_id, job_id, attempt, version
        )
        select
            best.experiment_id, best.node_id, best.node_level, best.parent_id, best.node_name, best.status,
            best.completed_units, best.total_units, best.unit, best.weight, best.message, best.error_type,
            best.start_time, best.end_time, best.metadata, best.trace_id, best.span_id, best.job_id, best.attempt,
            best.version
        from (
            select distinct on (brought.experiment_id, brought.node_id)
                brought.*,
                min(brought.seq) over (partition by brought.experiment_id, brought.node_id) as first_seq
            from pipespan_batch_nodes_v1 as brought
            order by
                brought.experiment_id, brought.node_id,
                brought.attempt desc,
                pipespan_is_terminal_v1(brought.status) desc,
                brought.version desc,
                brought.seq
        ) as best
        order by best.first_seq
        on conflict (experiment_id, node_id) do update set
            node_level = excluded.node_level,
            parent_id = excluded.parent_id,
            node_name = excluded.node_name,
            status = excluded.status,
            completed_units = excluded.completed_units,
            total_units = excluded.total_units,
            unit = excluded.unit,
            weight = excluded.weight,
            message = excluded.message,
            error_type = excluded.error_type,
            start_time = excluded.start_time,
            end_time = excluded.end_time,
            metadata = excluded.metadata,
            trace_id = excluded.trace_id,
            span_id = excluded.span_id,
            job_id = excluded.job_id,
            attempt = excluded.attempt,
            version = excluded.version,
            updated_at = now()
        where
            (excluded.attempt, pipespan_is_terminal_v1(excluded.status), excluded.version)
            > (known.attempt, pipespan_is_terminal_v1(known.status), known.version);
    end if;

    if cardinality(p_error_ids) > 0 then
        update experiments as known
        set error_count = known.error_count + added.errors
        from unnest(p_error_ids, p_errors) as added (id, errors)
        where known.id = added.id;
    end if;
end
$$;

-- ---------------------------------------------------------------- settings of the database, and partitions

create table pipespan_settings (
    name text primary key,
    value text not null,
    updated_at timestamptz not null default now(),
    constraint pipespan_settings__partition_size__known
        check (name <> 'partition_size' or value in ('hour', 'day', 'week', 'month'))
);

comment on table pipespan_settings is 'What holds for all who use this database, such as `partition_size`.';

insert into pipespan_settings (name, value) values ('partition_size', 'day');

-- The partitions of the tables that grow, with what each of them holds; from null to null for the default one.
create function pipespan_partitions_v1()
returns table (parent text, partition text, starts_at timestamptz, ends_at timestamptz)
language sql stable
set search_path from current
set timezone to 'UTC'
set datestyle to 'ISO, YMD'
as $$
    select
        parent.relname::text,
        part.relname::text,
        substring(bound.text from $re$FROM \('([^']+)'\)$re$)::timestamptz,
        substring(bound.text from $re$TO \('([^']+)'\)$re$)::timestamptz
    from unnest(array['pipeline_logs', 'pipeline_events', 'pipeline_metrics']) as named (name)
    join pg_class as parent on parent.oid = to_regclass(named.name)
    join pg_inherits as inherits on inherits.inhparent = parent.oid
    join pg_class as part on part.oid = inherits.inhrelid
    cross join lateral (select pg_get_expr(part.relpartbound, part.oid) as text) as bound
$$;

-- Makes the partition of p_parent that p_moment needs, as far as no other one has its time already: after another
-- size was set, what exists stays as it is. With p_move rows of the default partition move in; without, a time of
-- which the default partition has rows stays there. Returns the number of rows moved, null when nothing was made.
create function pipespan_make_partition_v1(p_parent text, p_moment timestamptz, p_move boolean default false)
returns bigint
language plpgsql
set search_path from current
set timezone to 'UTC'
as $$
declare
    v_size text := coalesce((select value from pipespan_settings where name = 'partition_size'), 'day');
    v_form text := case v_size
        when 'hour' then 'YYYYMMDDHH24' when 'week' then 'IYYY"w"IW' when 'month' then 'YYYYMM' else 'YYYYMMDD'
    end;
    v_table regclass := p_parent::regclass;
    v_start timestamptz := date_trunc(v_size, p_moment);
    v_end timestamptz := date_trunc(v_size, p_moment) + ('1 ' || v_size)::interval;
    v_name text := p_parent || '_p' || to_char(date_trunc(v_size, p_moment), v_form);
    v_schema text;
    v_columns text;
    v_moved bigint := 0;
begin
    select namespace.nspname into strict v_schema
    from pg_class as class
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where class.oid = v_table;

    perform pg_advisory_xact_lock(hashtext('pipespan partitions'));
    if exists (
        select from pipespan_partitions_v1() as part
        where
            part.parent = p_parent
            and (part.partition = v_name or (part.starts_at <= p_moment and part.ends_at > p_moment))
    ) then
        return null;
    end if;
    select
        coalesce(max(part.ends_at) filter (where part.ends_at <= p_moment), v_start),
        coalesce(min(part.starts_at) filter (where part.starts_at > p_moment), v_end)
    into v_start, v_end
    from pipespan_partitions_v1() as part
    where part.parent = p_parent and part.ends_at > v_start and part.starts_at < v_end;

    begin
        execute format(
            'create table %I.%I (like %s including defaults including constraints including generated)',
            v_schema, v_name, v_table
        );
        if p_move then
            -- what is generated is not written
            select string_agg(quote_ident(attribute.attname), ', ' order by attribute.attnum)
            into strict v_columns
            from pg_attribute as attribute
            where
                attribute.attrelid = v_table
                and attribute.attnum > 0
                and not attribute.attisdropped
                and attribute.attgenerated = '';
            execute format(
                'with moved as (delete from %I.%I where timestamp >= %L and timestamp < %L returning *)'
                ' insert into %I.%I (%s) select %s from moved',
                v_schema, p_parent || '_default', v_start, v_end, v_schema, v_name, v_columns, v_columns
            );
            get diagnostics v_moved = row_count;
        end if;
        execute format(
            'alter table %s attach partition %I.%I for values from (%L) to (%L)',
            v_table, v_schema, v_name, v_start, v_end
        );
    exception
        -- rows in the default partition, or somebody was faster
        when check_violation or duplicate_table or invalid_object_definition then return null;
    end;
    return v_moved;
end
$$;

-- Create the partitions from a day ago to p_days_ahead days from now; of those that last an hour, from an hour ago to
-- a day from now at most. Returns how many were created. Only who has something to create waits for others who do.
create or replace function pipespan_ensure_partitions_v1(p_days_ahead integer) returns integer
language plpgsql
set search_path from current
set timezone to 'UTC'
as $$
declare
    v_is_hourly boolean := exists (
        select from pipespan_settings where name = 'partition_size' and value = 'hour'
    );
    v_first timestamptz := case
        when v_is_hourly then date_trunc('hour', now()) - interval '1 hour' else date_trunc('day', now()) - interval '1 day'
    end;
    v_last timestamptz := case
        when v_is_hourly then date_trunc('hour', now()) + make_interval(days => least(p_days_ahead, 1))
        else date_trunc('day', now()) + make_interval(days => p_days_ahead)
    end;
    v_missing record;
    v_created integer := 0;
begin
    for v_missing in
        with known as (select * from pipespan_partitions_v1())
        select named.name as parent, series.moment
        from unnest(array['pipeline_logs', 'pipeline_events', 'pipeline_metrics']) as named (name)
        cross join generate_series(
            v_first, v_last, case when v_is_hourly then interval '1 hour' else interval '1 day' end
        ) as series (moment)
        where not exists (
            select from known
            where known.parent = named.name and known.starts_at <= series.moment and known.ends_at > series.moment
        )
        order by named.name, series.moment
    loop
        if pipespan_make_partition_v1(v_missing.parent, v_missing.moment) is not null then
            v_created := v_created + 1;
        end if;
    end loop;
    return v_created;
end
$$;

-- How many rows the default partitions have: any is an alarm, since they are never dropped, and slow every query.
create function pipespan_default_rows_v1() returns table (parent text, row_count bigint)
language plpgsql stable
set search_path from current
as $$
begin
    return query
    select 'pipeline_logs'::text, count(*) from pipeline_logs_default
    union all
    select 'pipeline_events', count(*) from pipeline_events_default
    union all
    select 'pipeline_metrics', count(*) from pipeline_metrics_default;
end
$$;

-- Gives rows of the default partitions partitions of their own and moves them in; returns how many were moved. Only
-- times from p_days_back days ago to p_days_ahead days from now: a clock that jumped must not make partitions without
-- end, so its rows stay. What others write meanwhile wins: then the time is left for the next call.
create function pipespan_move_default_rows_v1(p_days_back integer default 400, p_days_ahead integer default 7)
returns bigint
language plpgsql
set search_path from current
set timezone to 'UTC'
as $$
declare
    v_size text := coalesce((select value from pipespan_settings where name = 'partition_size'), 'day');
    v_parent text;
    v_moment timestamptz;
    v_moved bigint := 0;
begin
    foreach v_parent in array array['pipeline_logs', 'pipeline_events', 'pipeline_metrics'] loop
        for v_moment in
            execute format(
                'select min(timestamp) from %I where timestamp >= $1 and timestamp < $2'
                ' group by date_trunc($3, timestamp) order by 1',
                v_parent || '_default'
            )
            using
                date_trunc('day', now()) - make_interval(days => p_days_back),
                date_trunc('day', now()) + make_interval(days => p_days_ahead + 1),
                v_size
        loop
            v_moved := v_moved + coalesce(pipespan_make_partition_v1(v_parent, v_moment, true), 0);
        end loop;
    end loop;
    return v_moved;
end
$$;

-- ---------------------------------------------------------------- an experiment's own status

-- What has become of an experiment: its recorded status while that is open only until nobody is left to change it.
-- When all its roots have ended and no process works on it any more, the worst outcome of the roots stands, whether or
-- not the last row of its owner arrived; when processes have ended and roots have not, it stays as recorded, and
-- health tells. Derived and not stored: a status once stored as ended is final for its attempt, and a program may
-- begin another root.
create function pipespan_experiment_status_v1(p_experiment_id uuid) returns text
language sql stable
set search_path from current
as $$
    select case
        when pipespan_is_terminal_v1(experiment.status) or not roots.have_ended or jobs.are_at_work
            then experiment.status
        else roots.outcome
    end
    from experiments as experiment
    cross join lateral (
        select
            coalesce(bool_and(pipespan_is_terminal_v1(root.status)), false) as have_ended,
            case
                when bool_or(root.status = 'failed') then 'failed'
                when bool_or(root.status = 'cancelled') then 'cancelled'
                else 'completed'
            end as outcome
        from pipeline_progress as root
        where
            root.experiment_id = experiment.id
            and root.parent_id is null
            and root.attempt >= experiment.attempt
    ) as roots
    cross join lateral (
        select coalesce(bool_or(not pipespan_is_terminal_v1(job.status)), false) as are_at_work
        from processing_jobs as job
        where job.experiment_id = experiment.id
    ) as jobs
    where experiment.id = p_experiment_id
$$;
