import type { Rule } from '../rule.ts';

export const rule: Rule = {
  id: 'R6-admin-api-open',
  severity: 'critical',
  title: 'Admin API answers without a credential',
  why: 'It was reached over the network and asked for nothing: so can anybody else on it.',
  mend: 'Listen on loopback, and reach it through a route of Kong with authentication; in Enterprise switch RBAC on.',
  *find({ adminApis }) {
    for (const { isLoopback, isAuthenticated, place } of adminApis) {
      if (!isLoopback && !isAuthenticated) yield { place };
    }
  },
  examples: {
    bad: [{ adminApi: { url: 'http://kong.example.com:8001', isAuthenticated: false } }],
    good: [
      { adminApi: { url: 'http://127.0.0.1:8001', isAuthenticated: false } },
      { adminApi: { url: 'https://kong.example.com:8444', isAuthenticated: true } },
    ],
  },
};
