import type { IncomingHttpHeaders } from 'node:http';
import type { z } from 'zod';
import type { TaskArray } from '../schemas/task-array.ts';
import type { Trace } from '../core/trace.ts';
import type { ProblemCode } from './problem.ts';

/** What is known of a request before its body is read. */
export interface RequestInfo {
  readonly trace: Trace;
  /** The client's address, looked up behind trusted proxies. */
  readonly clientAddress: string;
  /** All headers, not validated, names in lower case. */
  readonly rawHeaders: IncomingHttpHeaders;
  /** Sets a header of the answer, whatever that will be: a problem has it too. */
  setHeader(name: string, value: string): void;
  /** Adds fields to the request's line in the log. */
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
  /** `application/json` unless given; anything else is sent as it is, a text. */
  readonly contentType?: string;
  readonly example?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Routes that the answer's values lead to, by a name of the link. */
  readonly links?: Readonly<Record<string, Link>>;
}

/** As OpenAPI's Link Object has it. */
export interface Link {
  readonly operationId: string;
  /** For each parameter of that operation where its value stands: `$response.body#/id`. */
  readonly parameters: Readonly<Record<string, string>>;
}

export type Responses = Readonly<Record<number, ResponseSpec>>;

type DeepReadonly<Value> = Value extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: DeepReadonly<Value[Key]> }
    : Value;

interface AnswerWith<Status, Schema extends z.ZodType> {
  readonly status: Status;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: DeepReadonly<z.input<Schema>>;
}

/** One of the declared answers; 200 unless a status is named. */
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
  /** As OpenAPI writes it: `/tasks/{id}`. */
  readonly path: string;
  readonly summary: string;
  /** Markdown. */
  readonly description?: string;
  /** The first segment of the path unless given. */
  readonly tags?: readonly string[];
  /** Objects; fields that they do not name are refused (except of headers). */
  readonly params?: Params;
  readonly query?: Query;
  readonly headers?: Headers;
  /** JSON. Without it a request's body is ignored. */
  readonly body?: Body;
  readonly bodyExample?: unknown;
  /** Bytes; 64 KiB unless given. */
  readonly bodyLimit?: number;
  /** Levels of nesting; 64 unless given. */
  readonly bodyDepth?: number;
  /** Where tasks stand in the body: their payloads are `Payload`s. Nowhere unless given. */
  readonly tasks?: 'body' | TaskArray;
  /** Bytes that it reads from a store for one answer, unless a single row is larger. Memory for them is taken beforehand. */
  readonly readsBytes?: number;
  readonly responses: Declared;
  /** What it throws of its own; those of validation and of the stores are listed for every route. */
  readonly problems?: readonly ProblemCode[];
  /** Left out of the OpenAPI document: pages. */
  readonly internal?: boolean;
  /** Called before the body is read; may refuse the request by throwing a `Problem`. */
  readonly admit?: (info: RequestInfo) => Promise<void>;
  readonly handler: (
    request: RouteRequest<z.output<Params>, z.output<Query>, z.output<Headers>, z.output<Body>>,
  ) => Promise<AnswerOf<Declared>>;
}

/** A route whose types have been checked, for tables of routes. */
export interface Route extends Omit<RouteSpec<z.ZodType, z.ZodType, z.ZodType, z.ZodType, Responses>, 'handler'> {
  readonly handler: (request: RouteRequest<never, never, never, never>) => Promise<Answer>;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/**
 * Declares a route: the router, the validation of requests, the OpenAPI
 * document and the handler's types all come from it. A handler returns one of
 * the declared answers or throws a `Problem`.
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
