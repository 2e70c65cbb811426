import type { SearchLimits } from '../../postgres/reads/search.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { createAuditReads } from './audit-reads.ts';
import { auditRoutes } from './routes.ts';

export { createRefusalLog } from './refusal-log.ts';

/** Shows what was done and what was refused. */
export function audit(
  { cursors, projectionOf, reader }: Pick<FeatureParts, 'cursors' | 'projectionOf' | 'reader'>,
  search?: SearchLimits,
): Feature {
  return { routes: auditRoutes({ reads: createAuditReads(reader, search), cursors, projectionOf }) };
}
