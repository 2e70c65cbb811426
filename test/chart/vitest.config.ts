import { defineConfig } from 'vitest/config';

/** scripts/test-chart runs these tests, because it provides helm. */
export default defineConfig({
  test: { name: 'chart', include: ['test/chart/*.test.ts'], pool: 'threads', testTimeout: 60_000 },
});
