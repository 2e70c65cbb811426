import { Migration0001Initial } from './migration-0001-initial.ts';
import { Migration0002Access } from './migration-0002-access.ts';
import { Migration0003Audit } from './migration-0003-audit.ts';
import { Migration0004ClientQuota } from './migration-0004-client-quota.ts';
import { Migration0005Sessions } from './migration-0005-sessions.ts';

/** All migrations, oldest first. Never change a released one; add a new one instead (expand, then contract). */
export const MIGRATIONS = [
  { name: '0001-initial', class: Migration0001Initial },
  { name: '0002-access', class: Migration0002Access },
  { name: '0003-audit', class: Migration0003Audit },
  { name: '0004-client-quota', class: Migration0004ClientQuota },
  { name: '0005-sessions', class: Migration0005Sessions },
];
