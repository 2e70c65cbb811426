import { PROBLEMS, type Problem } from '../../../http/problem.ts';

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Makes a text part of a page. Much of what a page says comes from elsewhere. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
}

/**
 * The page that a person sees if a login did not succeed. It needs no style and no script, so the content policy of
 * every answer allows nothing at all.
 */
export function loginPage({ code, message }: Problem, traceId: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${PROBLEMS[code].title}</title></head>
<body>
<h1>${PROBLEMS[code].title}</h1>
<p>${escapeHtml(message)}</p>
<p><a href="/login">Log in again</a></p>
<p><small>Code: ${code}. Trace: ${escapeHtml(traceId)}.</small></p>
</body>
</html>
`;
}
