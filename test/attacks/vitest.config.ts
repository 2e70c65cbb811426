import { defineConfig } from 'vitest/config';

/** Attacks on a real API, by programs and by a real browser. They are a suite of their own: `scripts/test-attacks`. */
export default defineConfig({
  test: {
    include: ['test/attacks/**/*.attack.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    globalSetup: ['test/harness/global-setup.ts'],
    setupFiles: ['test/harness/end-of-file.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
