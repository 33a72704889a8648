/** What watches the service asks for: alive, ready, metrics; and the OpenAPI description. */
import { createLogOnce, describeError } from '../../../lib/logger.ts';
import { answer, problems } from '../answers.ts';
import type { Routes } from '../context.ts';
import { noQuery } from '../schemas.ts';

export const statusRoutes: Routes = (app, context) => {
  const { metrics, storeHealth, checkPepper, logger } = context;
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
