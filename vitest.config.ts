import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

if (Number.parseInt(process.versions.node, 10) < 24) {
  throw new Error(
    `the tests need Node 24, this is ${process.versions.node}: call them through \`npx vitest\` or \`npm run\``,
  );
}

export default defineConfig({
  test: {
    // Integration tests mostly wait for servers and child processes, so one more than there are cores.
    maxWorkers: availableParallelism() + 1,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'scripts/**/*.test.ts', 'test/chaos/**/*.test.ts'],
          exclude: ['**/*.it.test.ts'],
          pool: 'threads',
        },
      },
      {
        test: {
          name: 'integration',
          include: ['src/**/*.it.test.ts', 'test/**/*.it.test.ts'],
          pool: 'forks',
          globalSetup: ['test/harness/global-setup.ts'],
          setupFiles: ['test/harness/end-of-file.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
