import { Migration0001Initial } from './migration-0001-initial.ts';

/** All migrations, oldest first. Never change a released one; add a new one instead (expand, then contract). */
export const MIGRATIONS = [{ name: '0001-initial', class: Migration0001Initial }];
