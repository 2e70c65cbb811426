import { Migration0001Initial } from './migration-0001-initial.ts';

/** All migrations, oldest first. A released one is never changed; a change is a new one (expand, then contract). */
export const MIGRATIONS = [{ name: '0001-initial', class: Migration0001Initial }];
