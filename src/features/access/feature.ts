import type { SearchLimits } from '../../postgres/reads/search.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { createAuditReads } from './audit-reads.ts';
import { auditRoutes } from './audit-routes.ts';

export { createRefusalLog } from './refusal-log.ts';

type Parts = Pick<FeatureParts, 'cursors' | 'reader'>;

/** Shows what was done and what was refused. */
export function access({ cursors, reader }: Parts, search?: SearchLimits): Feature {
  return { routes: auditRoutes({ reads: createAuditReads(reader, search), cursors }) };
}
