-- Batches that come together are opened together, in one call. A ledger that stands elsewhere is an error here and not
-- an answer: a writer may send the whole transaction in one message, and has no time to look at answers.

-- Moves the ledger for each of the batches, in their order, and makes the tables for rows that are merged ready. Where
-- one of them does not start where its ledger stands, nothing is written: the detail tells its number in the arrays,
-- from 1, and where the ledger stands.
create function pipespan_open_batches_v1(
    p_stream_ids uuid[],
    p_lanes text[],
    p_starts_bytes bigint[],
    p_ends_bytes bigint[],
    p_has_owners boolean,
    p_has_nodes boolean
) returns void
language plpgsql
set search_path from current
as $$
declare
    v_stands bigint;
begin
    for v_number in 1 .. coalesce(array_length(p_stream_ids, 1), 0) loop
        v_stands := pipespan_open_batch_v1(
            p_stream_ids[v_number], p_lanes[v_number], p_starts_bytes[v_number], p_ends_bytes[v_number],
            p_has_owners and v_number = 1, p_has_nodes and v_number = 1
        );
        if v_stands is not null then
            raise exception 'the ledger stands elsewhere'
                using errcode = 'PS001', detail = format('%s %s', v_number, v_stands);
        end if;
    end loop;
end
$$;
