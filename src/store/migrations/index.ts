import { Migration0001Initial } from './migration-0001-initial.ts';
import { Migration0002DeadLettersByTime } from './migration-0002-dead-letters-by-time.ts';
import { Migration0003BuriedTotal } from './migration-0003-buried-total.ts';

/** All migrations, oldest first. A released one is never changed; a change is a new one (expand, then contract). */
export const MIGRATIONS = [
  { name: '0001-initial', class: Migration0001Initial },
  { name: '0002-dead-letters-by-time', class: Migration0002DeadLettersByTime },
  { name: '0003-buried-total', class: Migration0003BuriedTotal },
];
