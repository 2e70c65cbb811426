import type { Handler } from '../src/handlers/handler.ts';
import { work, type Note } from './note.ts';

/** What the scheduler's worker loads as HANDLERS. */
export const note: Handler = ({ payload }) => work(payload as Note);
