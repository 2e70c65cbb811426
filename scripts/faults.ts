import { FULL_SUITE, runSuite } from '../test/chaos/suite.ts';

const parts = process.argv.slice(2);
process.exitCode = (await runSuite(parts.length === 0 ? FULL_SUITE : parts)) ? 0 : 1;
