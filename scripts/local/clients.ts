import { clientsCommand } from '../../src/features/access/command.ts';
import { runningUp } from './state.ts';

/** Runs `scheduler clients` on the database of the system that `up` runs; see `scripts/clients`. */

const state = runningUp();
if (state === null || state.addresses.length === 0) {
  console.error('nothing runs here: start it with ./scripts/up');
  process.exitCode = 1;
} else {
  process.exitCode = await clientsCommand(process.argv.slice(2), { ...process.env, ...state.settings });
}
