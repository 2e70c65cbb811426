import { existsSync, readFileSync } from 'node:fs';

/**
 * Prints "<passed> <failed>" for a report of vitest's JSON reporter. A file that
 * could not run, a skipped test and a missing report count as failures.
 */
interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  success: boolean;
}

const [path = '', exitCode = '1'] = process.argv.slice(2);
const report = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Report) : null;
const passed = report?.numPassedTests ?? 0;
const counted = report === null ? 1 : report.numFailedTests + report.numPendingTests + report.numTodoTests;
const failed = counted === 0 && (exitCode !== '0' || report?.success !== true || passed === 0) ? 1 : counted;
console.log(`${passed} ${failed}`);
