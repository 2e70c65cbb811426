import type { IncomingHttpHeaders } from 'node:http';
import type { z } from 'zod';
import type { AuditAction } from '../core/access/audit.ts';
import type { Client } from '../core/access/client.ts';
import type { Scope } from '../core/access/scopes.ts';
import type { Trace } from '../core/trace.ts';
import type { TaskArray } from '../given/task-array.ts';
import type { ProblemCode } from './problem.ts';

/** The session of a person, in a request that has its cookie. */
export interface RequestSession {
  /** Names it in lists and in the audit log. It is not the token. */
  readonly id: string;
  readonly openedBy: 'secret' | 'provider';
  /** When it ends, in milliseconds since 1970 by PostgreSQL's clock. */
  readonly expiresAtMs: number;
}

/** The parts of a request that are known before its body is read. */
export interface RequestInfo {
  readonly trace: Trace;
  /** The client's address, with trusted proxies taken into account. */
  readonly clientAddress: string;
  /**
   * On whose behalf the request acts. It has the scope of the route; what it may see and change is up to the handler.
   */
  readonly client: Client;
  /** The session that says who sends the request; null if a key says so, or if nobody has to say it. */
  readonly session: RequestSession | null;
  /** All headers, not validated. Their names are in lower case. */
  readonly rawHeaders: IncomingHttpHeaders;
  /** Sets a header of the answer. A problem that is answered instead has the header too. */
  setHeader(name: string, value: string): void;
  /** Adds fields to the log line of the request. */
  annotate(fields: Readonly<Record<string, string | number | boolean>>): void;
}

export interface RouteRequest<Params, Query, Headers, Body> extends RequestInfo {
  readonly params: Params;
  readonly query: Query;
  readonly headers: Headers;
  readonly body: Body;
}

export interface ResponseSpec {
  readonly description: string;
  readonly schema: z.ZodType;
  /** Default: `application/json`. A body of any other type is sent unchanged. */
  readonly contentType?: string;
  readonly example?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Links from values of this answer to other routes, by the name of the link. */
  readonly links?: Readonly<Record<string, Link>>;
}

/** A Link Object of OpenAPI. */
export interface Link {
  readonly operationId: string;
  /** Says for each parameter of that operation where its value is found, such as `$response.body#/id`. */
  readonly parameters: Readonly<Record<string, string>>;
}

export type Responses = Readonly<Record<number, ResponseSpec>>;

type DeepReadonly<Value> = Value extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: DeepReadonly<Value[Key]> }
    : Value;

/** Headers of an answer. Only `Set-Cookie` may have several values. */
type AnswerHeaders = Readonly<Record<string, string | string[]>>;

interface AnswerWith<Status, Schema extends z.ZodType> {
  readonly status: Status;
  readonly headers?: AnswerHeaders;
  readonly body: DeepReadonly<z.input<Schema>>;
}

/** One of the declared answers. The status is 200 by default. */
export type AnswerOf<Declared extends Responses> =
  | { [Status in keyof Declared & number]: AnswerWith<Status, Declared[Status]['schema']> }[keyof Declared & number]
  | (Declared extends { readonly 200: { readonly schema: infer Schema extends z.ZodType } }
      ? Omit<AnswerWith<200, Schema>, 'status'> & { readonly status?: never }
      : never);

export interface RouteSpec<
  Params extends z.ZodType,
  Query extends z.ZodType,
  Headers extends z.ZodType,
  Body extends z.ZodType,
  Declared extends Responses,
> {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** The path in OpenAPI's notation: `/tasks/{id}`. */
  readonly path: string;
  readonly summary: string;
  /**
   * The scope that a client needs; `any` if every client may use the route, whatever its scopes; `public` for what
   * everybody may see: that the process is alive, and the documents. It decides whether a request may use the route at
   * all. Each task, queue or worker is checked by the handler.
   */
  readonly scope: Scope | 'any' | 'public';
  /**
   * True if the route opens or ends sessions. Only browsers need it, so all of its requests have to follow the rules of
   * requests with a session: see `refuseForeign`.
   */
  readonly forBrowsers?: boolean;
  /**
   * What the audit log calls the route's action. Every route that changes something has one. Requests that are refused
   * are written into the log under this name; what is done, the handler's statements write themselves.
   */
  readonly audit?: AuditAction;
  /** Markdown. */
  readonly description?: string;
  /** Default: the first segment of the path. */
  readonly tags?: readonly string[];
  /** Object schemas. Fields that they do not name are refused; unknown headers are allowed. */
  readonly params?: Params;
  readonly query?: Query;
  readonly headers?: Headers;
  /** The schema of the JSON body. Without it, the body of a request is ignored. */
  readonly body?: Body;
  readonly bodyExample?: unknown;
  /** True if the body holds a secret. Errors then do not show what was given. */
  readonly secretBody?: boolean;
  /** The largest body in bytes. Default: 64 KiB. */
  readonly bodyLimit?: number;
  /** The deepest nesting of the body. Default: 64 levels. */
  readonly bodyDepth?: number;
  /** Where the body holds tasks. Their payloads are read as `Payload`s. Default: the body holds no tasks. */
  readonly tasks?: 'body' | TaskArray;
  /**
   * Bytes that the route reads from a store for one answer, unless a single row is larger. Memory for them is taken
   * before the handler runs.
   */
  readonly readsBytes?: number;
  readonly responses: Declared;
  /** The problems that this route throws. Problems of validation and of the stores are listed for every route. */
  readonly problems?: readonly ProblemCode[];
  /** True for pages and their files; the OpenAPI document leaves them out. */
  readonly internal?: boolean;
  /** Called before the body is read. It refuses the request by throwing a `Problem`. */
  readonly admit?: (info: RequestInfo) => Promise<void>;
  readonly handler: (
    request: RouteRequest<z.output<Params>, z.output<Query>, z.output<Headers>, z.output<Body>>,
  ) => Promise<AnswerOf<Declared>>;
}

/** A route without its type parameters, so that tables can hold routes of all types. `defineRoute` has checked them. */
export interface Route extends Omit<RouteSpec<z.ZodType, z.ZodType, z.ZodType, z.ZodType, Responses>, 'handler'> {
  readonly handler: (request: RouteRequest<never, never, never, never>) => Promise<Answer>;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: AnswerHeaders;
  readonly body: unknown;
}

/**
 * Declares a route. The router, the validation of requests, the OpenAPI document and the handler's types are all
 * derived from the declaration. A handler returns one of the declared answers or throws a `Problem`.
 */
export function defineRoute<
  Declared extends Responses,
  Params extends z.ZodType = z.ZodObject<{}>,
  Query extends z.ZodType = z.ZodObject<{}>,
  Headers extends z.ZodType = z.ZodObject<{}>,
  Body extends z.ZodType = z.ZodUndefined,
>(spec: RouteSpec<Params, Query, Headers, Body, Declared>): Route {
  return spec;
}
