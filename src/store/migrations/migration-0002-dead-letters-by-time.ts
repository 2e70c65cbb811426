import { Migration } from '@mikro-orm/migrations';

/** Lists of requeued dead letters, and of all, go by this index; `dlq_open` has only those that are open. */
export class Migration0002DeadLettersByTime extends Migration {
  override up(): void {
    this.addSql(`CREATE INDEX dlq_failed ON dlq (failed_at, task_id)`);
  }

  override down(): void {
    this.addSql(`DROP INDEX dlq_failed`);
  }
}
