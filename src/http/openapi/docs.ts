import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
// Importing the package itself would run the page's script in this process, which costs megabytes of memory.
import swaggerUiDirectory from 'swagger-ui-dist/absolute-path.js';
import { z } from 'zod';
import { Problem, PROBLEMS } from '../problem.ts';
import { defineRoute, type Route } from '../route.ts';
import { openApiDocument } from './openapi.ts';

const PAGE_POLICY = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

const HTML = 'text/html; charset=utf-8';

/** The files that the pages load, by their name in the address: files of Swagger UI, and two of this project. */
const ASSET_TYPES = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
  'start.js': 'text/javascript; charset=utf-8',
  'page.css': 'text/css; charset=utf-8',
} as const;
type AssetName = keyof typeof ASSET_TYPES;

const OWN_ASSETS: Partial<Record<AssetName, string>> = {
  'start.js':
    "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null });\n",
  'page.css':
    'body { margin: 0 auto; padding: 0 1rem; max-width: 90rem; font-family: sans-serif } dt { margin-top: 1.5em } dt, code { font-family: monospace }\n',
};

const PAGE_LINKS =
  '<link rel="stylesheet" href="/docs/assets/page.css"><link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">';

const DOCS_PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Distributed Task Scheduler</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">${PAGE_LINKS}</head>
<body><div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script><script src="/docs/assets/start.js"></script></body>
</html>
`;

/** Routes that describe all other routes: the OpenAPI document for programs, and pages for people. */
export function docsRoutes(described: readonly Route[], version: string) {
  // A buffer is shared by all answers; a string would be copied for each one.
  const document = Buffer.from(JSON.stringify(openApiDocument(described, version)));

  const openApi = defineRoute({
    method: 'get',
    path: '/openapi.json',
    summary: 'Describe the API as OpenAPI 3.1',
    scope: 'public',
    internal: true,
    responses: {
      200: { description: 'The document', schema: z.unknown(), contentType: 'application/json; charset=utf-8' },
    },
    handler: async () => ({ body: document }),
  });
  return [
    openApi,
    page('/docs', 'Show the API', DOCS_PAGE),
    page('/docs/errors', 'Explain the problem codes', errorsPage()),
    asset(),
  ];
}

function page(path: string, summary: string, html: string): Route {
  return defineRoute({
    method: 'get',
    path,
    summary,
    scope: 'public',
    internal: true,
    responses: { 200: { description: 'A page', schema: z.string(), contentType: HTML } },
    handler: async () => ({ body: html, headers: PAGE_POLICY }),
  });
}

function asset(): Route {
  const contents = new Map<AssetName, Buffer | string>();
  const load = async (name: AssetName): Promise<Buffer | string> =>
    OWN_ASSETS[name] ?? readFile(join(swaggerUiDirectory(), name));
  return defineRoute({
    method: 'get',
    path: '/docs/assets/{name}',
    summary: 'Load a part of a page',
    scope: 'public',
    internal: true,
    params: z.object({ name: z.string() }),
    responses: { 200: { description: 'A file', schema: z.unknown(), contentType: 'application/octet-stream' } },
    async handler({ params: { name } }) {
      if (!isAsset(name)) throw new Problem('not_found', 'no page needs this file');
      const content = contents.get(name) ?? (await load(name));
      contents.set(name, content);
      return {
        body: content,
        headers: { 'Content-Type': ASSET_TYPES[name], 'Cache-Control': 'public, max-age=3600' },
      };
    },
  });
}

function isAsset(name: string): name is AssetName {
  return Object.hasOwn(ASSET_TYPES, name);
}

/** The page that the `type` of a problem points to. */
function errorsPage(): string {
  const entries = Object.entries(PROBLEMS).map(
    ([code, { status, title, meaning }]) =>
      `<dt id="${code}">${code} <small>${status}</small></dt><dd><strong>${title}.</strong> ${meaning.replaceAll(/`([^`]+)`/g, '<code>$1</code>')}</dd>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Problem codes</title>${PAGE_LINKS}</head>
<body><h1>Problem codes</h1><dl>${entries.join('\n')}</dl></body></html>
`;
}
