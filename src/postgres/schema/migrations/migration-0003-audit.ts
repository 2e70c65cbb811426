import { Migration } from '@mikro-orm/migrations';

/** Who did what, and who was refused. Every action writes its row in its own transaction. */
export class Migration0003Audit extends Migration {
  override up(): void {
    this.addSql(`
      CREATE TABLE audit (
        id       uuid        NOT NULL PRIMARY KEY,
        at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        client   text        NOT NULL,
        action   text        NOT NULL,
        outcome  text        NOT NULL CHECK (outcome IN ('allowed', 'refused')),
        code     text,
        objects  text[]      NOT NULL DEFAULT '{}',
        details  json,
        count    bigint      NOT NULL DEFAULT 1,
        address  text        NOT NULL,
        trace_id text,
        CONSTRAINT audit_code CHECK ((code IS NOT NULL) = (outcome = 'refused'))
      )`);
    // Lists follow this index, and retention deletes from its beginning.
    this.addSql(`CREATE INDEX audit_at ON audit (at, id)`);
  }

  override down(): void {
    this.addSql(`DROP TABLE audit`);
  }
}
