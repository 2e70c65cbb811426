import type { Handler } from '../src/engine/attempts/handler.ts';
import { work, type Note } from './note.ts';

/** The handler that the scheduler's worker loads from HANDLERS. */
export const note: Handler = ({ payload }) => work(payload as Note);
