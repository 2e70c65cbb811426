import pg from 'pg';

const KEPT = [
  'submissions',
  'metadata_pairs',
  'unfinished',
  'finished',
  'attempts',
  'dlq',
  'idempotency_keys',
  'queues',
  'past_days',
  'clients',
  'client_secrets',
];

const FUNCTIONS = [
  'lowest_task_id(timestamptz)',
  'ensure_partitions(integer)',
  'drop_partitions_of(date, timestamptz, uuid[], integer)',
  'rebuild_bloated_index()',
];

/**
 * Returns the query for the roles to which an earlier migration granted these rights: all roles but the owner that may read
 * and write the tables of every task. A role that may only read, for reports, is none of them. A right that was granted to
 * everybody is no role's.
 */
export function grantedRoles(schema: string): string {
  return `
    SELECT pg_get_userbyid(a.grantee)::text AS role
    FROM pg_class c
    CROSS JOIN LATERAL aclexplode(c.relacl) AS a
    WHERE c.relnamespace = ${pg.escapeLiteral(schema)}::regnamespace AND c.relname IN ('submissions', 'unfinished')
      AND a.grantee NOT IN (0, c.relowner) AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    GROUP BY a.grantee
    HAVING count(DISTINCT (c.relname, a.privilege_type)) = 8
    ORDER BY role`;
}

/**
 * Returns the statements that give a role only the rights that API, workers and reclaimer need. The role owns nothing and
 * creates nothing. Partitions need no grants, because all statements go through their parent tables.
 */
export function grantsFor(role: string, schema: string): string[] {
  const to = `TO ${pg.escapeIdentifier(role)}`;
  const qualified = (names: readonly string[]): string =>
    names.map((name) => `${pg.escapeIdentifier(schema)}.${name}`).join(', ');
  return [
    `GRANT USAGE ON SCHEMA ${pg.escapeIdentifier(schema)} ${to}`,
    `GRANT USAGE ON TYPE ${qualified(['task_status', 'attempt_outcome'])} ${to}`,
    `GRANT SELECT, INSERT, UPDATE, DELETE ON ${qualified(KEPT)} ${to}`,
    `GRANT SELECT, UPDATE ON ${qualified(['sweeper', 'clients_version'])} ${to}`,
    // What was done stays as it was written, until its retention is over. Only counts grow.
    `GRANT SELECT, INSERT, UPDATE (count), DELETE ON ${qualified(['audit'])} ${to}`,
    // Who holds a session stays as it was written. Only the time of its last use changes.
    `GRANT SELECT, INSERT, UPDATE (used_at), DELETE ON ${qualified(['sessions'])} ${to}`,
    // Only migrations write to these tables. `tasks` and `execution_logs` are views for people.
    `GRANT SELECT ON ${qualified(['migrations', 'sealing_keys', 'tasks', 'execution_logs'])} ${to}`,
    `GRANT EXECUTE ON FUNCTION ${qualified(FUNCTIONS)} ${to}`,
  ];
}
