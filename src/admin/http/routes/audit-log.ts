/** The audit log, newest entries first. The MACs that chain it stay in the file: `audit-log verify` is run beside it. */
import { answer, problems } from '../answers.ts';
import type { Routes } from '../context.ts';
import { pathWith } from '../paging.ts';
import { auditQuery, type AuditQuery } from '../schemas.ts';

export const auditLogRoutes: Routes = (app, { audit }) => {
  app.get(
    '/audit-log',
    {
      config: { permission: 'audit-log:read' },
      schema: {
        operationId: 'readAuditLog',
        summary: 'Who changed which credential, when and from where',
        querystring: auditQuery,
        response: { 200: answer('AuditPage', 'A page of entries.'), ...problems() },
      },
    },
    async (request) => {
      const { size, before } = request.query as AuditQuery;
      const entries = await audit.entries(size, before);
      const last = entries.at(-1);
      return {
        data: entries.map(({ seq, at, actor, from, action, target, outcome, details, request: of }) => ({
          seq,
          at,
          actor,
          from,
          action,
          ...(target === undefined ? {} : { target }),
          outcome,
          ...(details === undefined ? {} : { details }),
          ...(of === undefined ? {} : { request: of }),
        })),
        next: last === undefined || last.seq <= 1 ? null : pathWith('/audit-log', { size, before: last.seq }),
      };
    },
  );
};
