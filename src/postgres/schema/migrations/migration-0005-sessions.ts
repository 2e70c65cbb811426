import { Migration } from '@mikro-orm/migrations';

/** Sessions of people, and the key that seals the state of a login. */
export class Migration0005Sessions extends Migration {
  override up(): void {
    // A session was opened with the secret of a client, whose hash it has, or by a provider, whose answer matched a grant.
    // Secrets of clients in files have no id.
    this.addSql(`
      CREATE TABLE sessions (
        hash        bytea       NOT NULL PRIMARY KEY,
        id          uuid        NOT NULL CONSTRAINT sessions_id UNIQUE,
        client      text        COLLATE "C" NOT NULL,
        secret_id   text        COLLATE "C",
        secret_hash bytea,
        grant_name  text,
        address     text        NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
        used_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at  timestamptz NOT NULL,
        CONSTRAINT sessions_holder CHECK (
          (secret_hash IS NULL) <> (grant_name IS NULL) AND (secret_id IS NULL OR secret_hash IS NOT NULL))
      )`);
    // The oldest sessions of a client make room for new ones, and lists follow one of these two indexes.
    this.addSql(`CREATE INDEX sessions_client ON sessions (client, created_at, id)`);
    this.addSql(`CREATE INDEX sessions_created ON sessions (created_at, id)`);
    this.addSql(`CREATE INDEX sessions_expiry ON sessions (expires_at)`);

    // As the key for cursors, it has 256 bits that come from 366 random bits.
    this.addSql(`
      INSERT INTO sealing_keys (name, key)
      VALUES ('logins', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))`);
  }

  override down(): void {
    this.addSql(`DROP TABLE sessions`);
    this.addSql(`DELETE FROM sealing_keys WHERE name = 'logins'`);
  }
}
