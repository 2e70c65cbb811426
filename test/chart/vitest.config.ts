import { defineConfig } from 'vitest/config';

/** Run by scripts/test-chart, which brings helm. */
export default defineConfig({
  test: { name: 'chart', include: ['test/chart/*.test.ts'], pool: 'threads', testTimeout: 60_000 },
});
