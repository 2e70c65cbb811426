import { bodyParser } from '@koa/bodyparser';
import Koa from 'koa';
import type { Note } from '../note.ts';

/**
 * What a team would build around a library: a Koa service that submits the task in each request and answers when that
 * is done. The address is the first line of its output.
 */
export function serve(submit: (note: Note) => Promise<{ id?: unknown }>): void {
  const app = new Koa();
  app.use(bodyParser());
  app.use(async (ctx) => {
    const note = (ctx.request as unknown as { body: Note }).body;
    const { id } = await submit(note);
    ctx.body = { id, payload: note };
  });
  const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify(server.address())));
  process.once('SIGTERM', () => process.exit());
}
