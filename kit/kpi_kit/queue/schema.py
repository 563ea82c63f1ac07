"""The tables of the queue, in a schema of their own, for the migrations of a service.

A revision of Alembic has ``op.execute(upgrade_sql())`` and ``op.execute(downgrade_sql())``. Autogenerate compares the
default schema alone, so it does not see these tables.
"""

from importlib.resources import files

SCHEMA = "kpi_queue"

# The rest of the transaction must find its tables as before, so the path is put back at the end.
_BEGIN = f"""
CREATE SCHEMA {SCHEMA};
SELECT set_config('{SCHEMA}.path', current_setting('search_path'), true);
SELECT set_config('search_path', '{SCHEMA}', true);
"""

# procrastinate's own index of the key allows a second job as soon as the first one runs.
_OWN = """
CREATE UNIQUE INDEX ix_procrastinate_jobs_unique ON procrastinate_jobs (queueing_lock)
    WHERE status IN ('todo', 'doing') AND queueing_lock IS NOT NULL;

CREATE INDEX ix_procrastinate_jobs_failed ON procrastinate_jobs (id) WHERE status = 'failed';

CREATE TABLE failures (
    job_id bigint CONSTRAINT pk_failures PRIMARY KEY
        CONSTRAINT fk_failures_job REFERENCES procrastinate_jobs ON DELETE CASCADE,
    error text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION push_unique(job procrastinate_job_to_defer_v1, OUT id bigint, OUT is_new boolean)
    LANGUAGE plpgsql
    -- Shorter than the driver waits: what the driver ends by itself ends the caller's transaction, too.
    SET lock_timeout = '5s'
AS $$
BEGIN
    -- The other job can end between the two statements, and a third one begin.
    FOR attempt IN 1..10 LOOP
        SELECT found.id, false INTO id, is_new FROM procrastinate_jobs AS found
            WHERE found.queueing_lock = job.queueing_lock AND found.status IN ('todo', 'doing');
        IF FOUND THEN
            RETURN;
        END IF;
        BEGIN
            id := (procrastinate_defer_jobs_v1(ARRAY[job]))[1];
            is_new := true;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- It has waited here for the transaction of the other job, which has committed.
            WHEN lock_not_available THEN
                -- That transaction is still open: no row says so, and the caller's own stays usable.
                id := NULL;
                RETURN;
        END;
    END LOOP;
    RAISE serialization_failure USING MESSAGE = 'this transaction cannot see the job that has the key';
END;
$$;

-- procrastinate's own function keeps the last period only, and pushes an older one again.
CREATE FUNCTION push_period(job procrastinate_job_to_defer_v1, period bigint) RETURNS bigint
    LANGUAGE plpgsql
AS $$
BEGIN
    -- Of two processes, the second one then sees what the first one has pushed.
    PERFORM pg_advisory_xact_lock(hashtextextended('kpi_queue ' || job.task_name, 0));
    IF EXISTS (
        SELECT FROM procrastinate_periodic_defers WHERE task_name = job.task_name AND defer_timestamp >= period
    ) THEN
        RETURN NULL;
    END IF;
    DELETE FROM procrastinate_periodic_defers WHERE task_name = job.task_name;
    INSERT INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)
        VALUES (job.task_name, '', period);
    RETURN (procrastinate_defer_jobs_v1(ARRAY[job]))[1];
END;
$$;
"""

# A job can be pushed in any session, whatever its path is, and no other schema can put a table in the way.
_END = f"""
DO $$
DECLARE
    signature regprocedure;
BEGIN
    FOR signature IN SELECT oid FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = {SCHEMA}, pg_temp', signature);
    END LOOP;
END;
$$;
SELECT set_config('search_path', current_setting('{SCHEMA}.path'), true);
"""


def upgrade_sql() -> str:
    """The statements that create the schema, with the tables and functions of the installed procrastinate."""
    schema = (files("procrastinate.sql") / "schema.sql").read_text(encoding="utf-8")
    return f"{_BEGIN}{schema}{_OWN}{_END}"


def downgrade_sql() -> str:
    """The statement that drops the schema, with all jobs."""
    return f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"
