import { Migration } from '@mikro-orm/migrations';

/** Clients of the API and their secrets. */
export class Migration0002Access extends Migration {
  override up(): void {
    // A revoked client stays, so that nobody else takes its name, which idempotency keys and the audit log contain.
    this.addSql(`
      CREATE TABLE clients (
        name            text        COLLATE "C" NOT NULL PRIMARY KEY,
        scopes          text[]      NOT NULL,
        queues          text[]      NOT NULL,
        actions         text[]      NOT NULL,
        rate_per_minute integer,
        burst           integer,
        unfinished_max  integer,
        delay_max_ms    bigint,
        timeout_max_ms  bigint,
        note            text        NOT NULL DEFAULT '',
        created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at      timestamptz,
        revoked_at      timestamptz
      )`);

    this.addSql(`
      CREATE TABLE client_secrets (
        id           text        COLLATE "C" NOT NULL PRIMARY KEY,
        client       text        COLLATE "C" NOT NULL,
        hash         bytea       NOT NULL,
        created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at   timestamptz,
        last_used_at timestamptz
      )`);
    this.addSql(`CREATE INDEX client_secrets_client ON client_secrets (client)`);

    // Every change of a client or a secret raises the version in its own transaction, by a random number: if a failover
    // loses changes, later ones do not lead to a version that API processes have seen already. API processes ask for
    // it, and read all clients again if it is another one.
    this.addSql(`
      CREATE TABLE clients_version (
        id      smallint NOT NULL PRIMARY KEY CHECK (id = 1),
        version bigint   NOT NULL DEFAULT 1
      )`);
    this.addSql(`INSERT INTO clients_version (id) VALUES (1)`);
  }

  override down(): void {
    this.addSql(`DROP TABLE clients, client_secrets, clients_version`);
  }
}
