import { Migration } from '@mikro-orm/migrations';

/**
 * The tasks that count for the quota of a client. The column is null for clients without a quota, so that their tasks
 * have no entry in the index and pay nothing for it.
 *
 * `finished` has no such column: a task that somebody requeues no longer counts. The quota bounds what a client
 * submits, and a requeue of many tasks must not keep it from submitting.
 *
 * The index is not built concurrently, which no transaction can do. It is empty at first: beside a million unfinished tasks
 * the table was locked for a third of a second, which submissions wait for.
 */
export class Migration0004ClientQuota extends Migration {
  override up(): void {
    this.addSql(`ALTER TABLE unfinished ADD COLUMN quota_client text COLLATE "C"`);
    this.addSql(`CREATE INDEX unfinished_quota ON unfinished (quota_client) WHERE quota_client IS NOT NULL`);
    // As for the other columns of this table, statistics would be wrong within seconds.
    this.addSql(`ALTER TABLE unfinished ALTER quota_client SET STATISTICS 0`);
  }

  override down(): void {
    this.addSql(`ALTER TABLE unfinished DROP COLUMN quota_client`);
  }
}
