/** What watches the service asks for: alive, ready, metrics; and the OpenAPI description. */
import type { Clock } from '../../../lib/clock.ts';
import { createLogOnce, describeError } from '../../../lib/logger.ts';
import { answer, problems } from '../answers.ts';
import type { Routes } from '../context.ts';
import { noQuery } from '../schemas.ts';

/** Anybody may ask whether it is ready: however often, the pepper is read once in so many ms, and never twice at once. */
const PEPPER_CHECK_MS = 1000;

export const statusRoutes: Routes = (app, context) => {
  const { metrics, storeHealth, logger } = context;
  const checkPepper = rarely(context.checkPepper, context.clock);
  const logOnce = createLogOnce(logger);

  app.get(
    '/live',
    {
      config: { permission: 'public' },
      schema: {
        operationId: 'live',
        summary: 'Whether the process answers',
        security: [],
        querystring: noQuery,
        response: { 200: answer('Liveness', 'It does.'), ...problems() },
      },
    },
    () => ({ live: true }),
  );

  app.get(
    '/ready',
    {
      config: { permission: 'public' },
      schema: {
        operationId: 'ready',
        summary: 'Whether requests can be served',
        security: [],
        querystring: noQuery,
        response: {
          200: answer('Readiness', 'They can.'),
          ...problems(),
          503: answer('Readiness', 'Something is out of reach; the log says why.'),
        },
      },
    },
    async (_request, reply) => {
      const health = storeHealth();
      let pepper = true;
      try {
        await checkPepper();
      } catch (error) {
        pepper = false;
        logOnce('pepper', 'error', { err: describeError(error) }, 'not ready: the pepper cannot be read');
      }
      if (!health.ok) logOnce('store', 'error', { problem: health.problem }, 'not ready: the store');
      const ready = health.ok && pepper;
      return reply.code(ready ? 200 : 503).send({ ready, store: health.ok, pepper });
    },
  );

  app.get(
    '/metrics',
    {
      config: { permission: 'metrics:read' },
      schema: {
        operationId: 'metrics',
        summary: 'Counts for Prometheus',
        querystring: noQuery,
        response: {
          200: {
            description: "Prometheus' text format.",
            content: { 'text/plain': { schema: { type: 'string' } } },
          },
          ...problems(),
        },
      },
    },
    async (_request, reply) => {
      reply.type(metrics.registry.contentType);
      return metrics.registry.metrics();
    },
  );

  app.get(
    '/openapi.json',
    {
      config: { permission: 'any' },
      schema: {
        operationId: 'openapi',
        summary: 'This description',
        querystring: noQuery,
        response: {
          200: {
            description: 'OpenAPI 3.1.',
            content: { 'application/json': { schema: { type: 'object', additionalProperties: true } } },
          },
          ...problems(),
        },
      },
    },
    () => app.swagger(),
  );
};

/** `check`, or how its last run ended or will end where that began a moment ago. */
function rarely(check: () => Promise<void>, clock: Clock): () => Promise<void> {
  let last: { readonly run: Promise<void>; endedAt: number | undefined } | undefined;
  return () => {
    const sinceMs = last?.endedAt === undefined ? 0 : clock.now() - last.endedAt;
    // A clock that was set back must not make it stay.
    if (last !== undefined && sinceMs >= 0 && sinceMs < PEPPER_CHECK_MS) return last.run;
    const begun: NonNullable<typeof last> = { run: check(), endedAt: undefined };
    const end = (): void => void (begun.endedAt = clock.now());
    begun.run.then(end, end);
    last = begun;
    return begun.run;
  };
}
