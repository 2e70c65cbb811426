import { bodyParser } from '@koa/bodyparser';
import Koa from 'koa';

/** The upper bound: Koa parses a body and sends it back. */
const app = new Koa();
app.use(bodyParser());
app.use((ctx) => {
  ctx.body = ctx.request.body;
});
const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify(server.address())));
process.once('SIGTERM', () => process.exit());
