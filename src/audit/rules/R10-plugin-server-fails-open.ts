import type { Rule } from '../rule.ts';
import { companionsOf, pluginName, pluginsNamed } from '../looking.ts';

const STOCK = /kong-(?:js|python)-pluginserver|kong-pluginserver|kong-pdk\b/;

export const rule: Rule = {
  id: 'R10-plugin-server-fails-open',
  severity: 'high',
  title: 'Plugin server that fails open',
  why: 'Stock plugin servers speak MsgPack:1: when one is dead, hung or throws, Kong only logs it, and requests pass without authentication.',
  mend: 'Run `hashed-key-auth serve` (ProtoBuf:1, fails closed), or put acl on every route behind it: it lets nobody through who is not authenticated.',
  *find(deployment) {
    const guarded = pluginsNamed(deployment, 'hashed-key-auth');
    const isGuarded =
      guarded.length > 0 &&
      guarded.every((plugin) =>
        companionsOf(deployment, plugin).some((other) => pluginName(other) === 'acl'),
      );
    if (isGuarded) return;
    for (const { settings } of deployment.instances) {
      for (const [name, { text, place }] of settings) {
        if (!/^pluginserver_.*_(?:start|query)_cmd$/.test(name) || text === undefined) continue;
        if (STOCK.test(text)) yield { place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `pluginserver_names = js
pluginserver_js_start_cmd = /usr/local/bin/kong-js-pluginserver --plugins-directory /plugins
`,
        },
      },
      {
        files: {
          'kong.conf': `pluginserver_py_start_cmd = kong-python-pluginserver
`,
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: hashed-key-auth
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `pluginserver_hashed_key_auth_start_cmd = hashed-key-auth serve
`,
        },
      },
      {
        files: {
          'kong.conf': `pluginserver_js_start_cmd = kong-js-pluginserver
`,
          'kong.yml': `_format_version: '3.0'
services:
  - name: orders
    url: http://orders.example.com
    routes:
      - name: orders
        paths: [/orders]
    plugins:
      - name: hashed-key-auth
      - name: acl
        config:
          allow: [callers]
`,
        },
      },
    ],
  },
};
