"""The tables, created by whichever process comes first."""

# Any fixed number; it keeps two starting replicas from creating the same table at once.
_LOCK = 7_203_941

STATEMENTS = (
    f"SELECT pg_advisory_xact_lock({_LOCK})",
    """CREATE TABLE IF NOT EXISTS documents (
        id uuid PRIMARY KEY,
        title text NOT NULL,
        body text NOT NULL,
        status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'processing', 'processed', 'failed')),
        error text,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        enqueued_at timestamptz)""",
    "CREATE INDEX IF NOT EXISTS documents_unsent ON documents (created_at) WHERE enqueued_at IS NULL",
    "CREATE INDEX IF NOT EXISTS documents_status ON documents (status)",
    """CREATE TABLE IF NOT EXISTS chunks (
        document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
        position integer NOT NULL,
        point_id uuid NOT NULL UNIQUE,
        body text NOT NULL,
        PRIMARY KEY (document_id, position))""",
    """CREATE TABLE IF NOT EXISTS heartbeat (
        id integer PRIMARY KEY CHECK (id = 1),
        beat_at timestamptz NOT NULL)""",
)
