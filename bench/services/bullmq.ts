import { Queue } from 'bullmq';
import type { Note } from '../note.ts';
import { serve } from './server.ts';

const { hostname: host, port, password } = new URL(process.env['REDIS_URL'] ?? '');
const queue = new Queue<Note>('bench', { connection: { host, port: Number(port), password } });
await queue.waitUntilReady();
serve((note) => queue.add('note', note));
