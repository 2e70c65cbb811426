import { Migration } from '@mikro-orm/migrations';

/** Tasks that killed their workers: whoever buries them may be a CronJob's pod, whose figures nobody can scrape. */
export class Migration0003BuriedTotal extends Migration {
  override up(): void {
    this.addSql(`ALTER TABLE sweeper ADD COLUMN tasks_buried bigint NOT NULL DEFAULT 0`);
  }

  override down(): void {
    this.addSql(`ALTER TABLE sweeper DROP COLUMN tasks_buried`);
  }
}
