import pg from 'pg';

const KEPT = ['tasks', 'execution_logs', 'dlq', 'idempotency_keys', 'queues'];

const FUNCTIONS = ['lowest_task_id(timestamptz)', 'ensure_partitions(integer)', 'drop_partitions_of(date)'];

/**
 * Statements that give a role what API, workers and reclaimer need, and no more: it owns nothing and makes nothing.
 * Partitions need no grants, since everything goes through their parents.
 */
export function grantsFor(role: string, schema: string): string[] {
  const to = `TO ${pg.escapeIdentifier(role)}`;
  const qualified = (names: readonly string[]): string =>
    names.map((name) => `${pg.escapeIdentifier(schema)}.${name}`).join(', ');
  return [
    `GRANT USAGE ON SCHEMA ${pg.escapeIdentifier(schema)} ${to}`,
    `GRANT USAGE ON TYPE ${qualified(['task_status', 'attempt_outcome'])} ${to}`,
    `GRANT SELECT, INSERT, UPDATE, DELETE ON ${qualified(KEPT)} ${to}`,
    `GRANT SELECT, UPDATE ON ${qualified(['sweeper'])} ${to}`,
    // Pods wait for the schema.
    `GRANT SELECT ON ${qualified(['migrations', 'sealing_keys'])} ${to}`,
    `GRANT EXECUTE ON FUNCTION ${qualified(FUNCTIONS)} ${to}`,
  ];
}
