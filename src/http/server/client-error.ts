import { randomBytes } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { Problem, problemDocument } from '../problem.ts';

/** Listener for a server's `clientError` event: answers requests that cannot be parsed and so never reach a route. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  // The client has gone, or an answer has already begun, which a second one would corrupt.
  if (error.code === 'ECONNRESET' || !socket.writable || hasBegunAnswer(socket)) {
    socket.destroy();
    return;
  }
  const problem = problemOf(error.code);
  const traceId = randomBytes(16).toString('hex');
  const body = JSON.stringify(problemDocument(problem, traceId));
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Trace-ID: ${traceId}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function problemOf(code: string | undefined): Problem {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new Problem('headers_too_large', 'the request line and the headers are too long');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Problem('request_timed_out', 'the request did not arrive in time');
    default:
      return new Problem('malformed_request', 'the request cannot be read as HTTP/1.1');
  }
}

/** Node keeps the current response on its socket in `_httpMessage`; its default listener for this event uses it too. */
function hasBegunAnswer(socket: Duplex): boolean {
  const { _httpMessage: response } = socket as Duplex & { readonly _httpMessage?: { readonly headersSent: boolean } };
  return response?.headersSent === true;
}
