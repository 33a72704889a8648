/**
 * The routes and what is around each of them: who is asking, may they, how often; errors as problems; counts. Nothing of a
 * body is read before the sender is known and allowed.
 *
 * Invariant: a route without a declared permission stops the start. An attacker controls method, path, headers and body.
 */
import { randomUUID } from 'node:crypto';
import { METHODS as HTTP_METHODS, type IncomingMessage } from 'node:http';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { plainAddress } from '../../lib/address-list.ts';
import { Buckets } from '../../lib/buckets.ts';
import { HkaError } from '../../lib/errors.ts';
import { describeError } from '../../lib/logger.ts';
import { ANSWERS } from './answers.ts';
import type { AdminDeps, RouteContext, Routes } from './context.ts';
import { Guesses } from './guesses.ts';
import { AdminMetrics } from './metrics.ts';
import { describeApi } from './openapi.ts';
import { mayUse, type Principal } from './permissions.ts';
import { faultOf, invalidField, problemOf, PROBLEM_TYPE } from './problems.ts';
import { auditLogRoutes } from './routes/audit-log.ts';
import { changeRoutes } from './routes/change.ts';
import { importRoutes } from './routes/import.ts';
import { issueRoutes } from './routes/issue.ts';
import { readRoutes } from './routes/read.ts';
import { rotateRoutes } from './routes/rotate.ts';
import { statusRoutes } from './routes/status.ts';
import { verifyRoutes } from './routes/verify.ts';
import type { TokenVerifier } from './tokens.ts';
import { validatorFor } from './validation.ts';

export interface AppOptions {
  readonly version: string;
  readonly tokens: TokenVerifier;
  /** Whether whoever gets through is admin where there never was a token: on a Unix socket. */
  readonly trustsPeer: boolean;
  readonly rateLimitPerSecond: number;
}

export const MAX_BODY_BYTES = 64 * 1024;
/** All that Node's parser knows; of CONNECT it makes no request. */
const METHODS = HTTP_METHODS.filter((method) => method !== 'CONNECT');
const ROUTES: readonly Routes[] = [
  readRoutes,
  issueRoutes,
  changeRoutes,
  rotateRoutes,
  verifyRoutes,
  importRoutes,
  auditLogRoutes,
  statusRoutes,
];

/** `X-Request-Id` as it came, if it is fit to be logged and sent back; else a new one. */
export function requestIdOf(headers: IncomingMessage['headers']): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
}

/** Where a request comes from, for limits and the audit log. */
export function addressOf(request: IncomingMessage): string {
  return plainAddress(request.socket.remoteAddress ?? 'unix');
}

export async function createApp(
  options: AppOptions,
  deps: AdminDeps,
  routes: readonly Routes[] = ROUTES,
): Promise<FastifyInstance> {
  const metrics = new AdminMetrics();
  const context: RouteContext = { ...deps, metrics, guesses: new Guesses(deps.clock) };
  const app = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    genReqId: (request) => requestIdOf(request.headers),
    routerOptions: { maxParamLength: 8192 },
    // What the router refuses before any hook runs: a path that can't be decoded.
    frameworkErrors: (error, request, reply) => {
      send(deps, error, request, reply);
    },
  });
  for (const method of METHODS) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
  }
  app.setValidatorCompiler(validatorFor);
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  takeJsonOnly(app);
  app.decorateRequest('principal', undefined);
  for (const schema of ANSWERS) app.addSchema(schema);
  await describeApi(app, options.version);

  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method, config }) => {
    if (config?.permission === undefined) {
      throw new HkaError('HKA_INTERNAL', `the route ${String(method)} ${url} declares no permission`);
    }
    const known = methods.get(url) ?? new Set();
    for (const one of [method].flat()) known.add(one);
    methods.set(url, known);
  });
  app.addHook('onRequest', guard(options, deps));
  app.addHook('onResponse', (request, reply, done) => {
    const { url } = request.routeOptions;
    metrics.count(url, request.method, reply.statusCode, reply.elapsedTime / 1000);
    const { method, id } = request;
    const actor = request.principal?.actor.name;
    const ms = Math.round(reply.elapsedTime);
    deps.logger.info({ request_id: id, method, route: url, status: reply.statusCode, actor, ms }, 'request');
    done();
  });
  app.setErrorHandler((error, request, reply) => send(deps, error, request, reply));
  app.setNotFoundHandler(() => {
    throw new HkaError('HKA_ROUTE_NOT_FOUND', 'there is nothing at this path');
  });

  for (const add of routes) add(app, context);
  refuseOtherMethods(app, methods);
  await app.ready();
  return app;
}

/** `null` would be taken for no body at all, and no body is one without fields. */
function takeJsonOnly(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  const parse = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    void parse(request, body, (error, value: unknown) => {
      if (error === null && value === null) done(invalidField('body', 'must be an object, found null'));
      else done(error, value);
    });
  });
}

/** Who is it, are they sending too much, may they? In this order, before anything else of the request is looked at. */
function guard(options: AppOptions, deps: AdminDeps) {
  const { tokens } = options;
  const perSecond = options.rateLimitPerSecond;
  const buckets = new Buckets({ burst: perSecond * 2, perSecond, maxEntries: 10_000 }, deps.clock);

  const principalFor = async (request: FastifyRequest): Promise<Principal> => {
    const from = addressOf(request.raw);
    if (options.trustsPeer && !tokens.required)
      return { actor: { name: 'unix', from }, role: 'admin', reach: {} };
    const { name, role, consumers, tags } = await tokens.verify(request.headers.authorization, from);
    return {
      actor: { name: `token:${name}`, from },
      role,
      reach: { ...(consumers === undefined ? {} : { consumers }), ...(tags === undefined ? {} : { tags }) },
    };
  };

  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    reply.headers({
      'x-request-id': request.id,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    const permission = request.routeOptions.config?.permission;
    const isPublic = permission === 'public';
    const principal = isPublic ? undefined : await principalFor(request);
    request.principal = principal;
    if (!buckets.charge(principal?.actor.name ?? `address:${addressOf(request.raw)}`)) {
      throw new HkaError('HKA_RATE_LIMITED', 'too many requests', {
        details: { retryAfter: buckets.retryAfterSeconds },
      });
    }
    if (isPublic || request.is404) return;
    if (permission === undefined || principal === undefined || !mayUse(principal, permission)) {
      throw new HkaError('HKA_FORBIDDEN', 'this token may not do this');
    }
  };
}

function send({ logger }: AdminDeps, thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const error = faultOf(thrown);
  const problem = problemOf(error, request.id);
  if (problem.status >= 500) {
    const { method, id } = request;
    const { url: route } = request.routeOptions;
    logger.error({ request_id: id, method, route, err: describeError(error) }, 'a request failed');
  }
  const { retryAfter, presented, allow } = error.details;
  if (problem.status === 401) {
    reply.header(
      'www-authenticate',
      `Bearer realm="hashed-key-auth"${presented === true ? ', error="invalid_token"' : ''}`,
    );
  }
  if (typeof retryAfter === 'number') reply.header('retry-after', String(retryAfter));
  else if (problem.status === 503) reply.header('retry-after', '1');
  if (typeof allow === 'string') reply.header('allow', allow);
  void reply
    .header('x-request-id', request.id)
    .header('cache-control', 'no-store')
    .code(problem.status)
    .type(PROBLEM_TYPE)
    .send(JSON.stringify(problem));
}

/** Methods that a path does not take: 405 with those it takes, to whoever has a token. */
function refuseOtherMethods(app: FastifyInstance, methods: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const [url, known] of methods) {
    const allow = [...known].join(', ');
    app.route({
      url,
      method: METHODS.filter((method) => !known.has(method)),
      schema: { hide: true },
      config: { permission: 'any' },
      onRequest: () => {
        throw new HkaError('HKA_METHOD_NOT_ALLOWED', `allowed here: ${allow}`, { details: { allow } });
      },
      handler: () => undefined,
    });
  }
}
